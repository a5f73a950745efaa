"""The VM hull: microVMs on a VMM over KVM, or on QEMU."""
