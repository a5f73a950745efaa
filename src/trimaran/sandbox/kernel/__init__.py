"""The user-space kernel: what each system call means, by subsystem."""
