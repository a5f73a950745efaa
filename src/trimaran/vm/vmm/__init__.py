"""A virtual machine monitor over ``/dev/kvm``: one guest a process.

A thread for each virtual CPU, one for all devices. What the guest writes (registers, rings, buffers'
addresses) is hostile input: it is read once, checked against the guest's memory, and a device that is lied
to stops until the guest resets it. Modules::

    machine     puts it together: boot, pause, resume, end
    memory      the guest's memory, every access checked
    boot, acpi  what the kernel finds when it starts
    vcpu        a virtual CPU's thread
    bus         who answers at which address
    serial      the console
    virtio/     rings, the MMIO transport, and devices
    snapshot    saving and restoring
    config      a machine's description
    main        the process of a machine; driver starts it and talks to it

The process is not jailed: it has the user and the namespaces of the keeper that starts it.
"""
