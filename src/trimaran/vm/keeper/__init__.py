"""The process that keeps one machine: it starts the hypervisor, talks to the agent, and serves monitors.

Started by :mod:`trimaran.vm.hull`, one a machine; it ends with its last container, or on demand. Modules::

    main        starts the machine described in a directory, and serves until it ends
    service     the socket: monitors' connections and the hull's requests
    containers  what is in the machine: creating, executing, signals, limits
    stdio       data between descriptors of the host and channels of the guest
    shares      directories of the host in the guest
"""
