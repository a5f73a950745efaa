"""The native hull: the OCI life cycle on namespaces, cgroups and seccomp."""
