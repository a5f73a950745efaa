"""The sandbox hull: a user-space kernel that answers a container's system calls."""
