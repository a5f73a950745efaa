"""Virtio 1.2 over MMIO: rings, the transport, and devices. The guest's driver is not trusted.

A device is a list of queues and a method for each event; the transport (:mod:`.mmio`) does the rest. A ring
that breaks the rules raises :class:`~trimaran.vm.vmm.virtio.queue.RingError`: the device then needs a reset
(status bit 64) and does nothing until the guest resets it.
"""
