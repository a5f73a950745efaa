"""Compiles an OCI runtime configuration and facts about the host to a plan. Pure: no I/O."""
