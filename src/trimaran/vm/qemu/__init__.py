"""Microvms on QEMU: with KVM, or by emulation where KVM runs no stock kernel."""
