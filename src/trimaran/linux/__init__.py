"""Typed calls to the kernel, without policy: the only Python with ioctl numbers and flags."""
