"""Entropy (virtio 1.2, section 5.4) from the host's generator, at a limited rate."""

from __future__ import annotations

import os

from trimaran.vm.vmm.virtio.device import VERSION_1, Device

_MOST = 4096


class Rng(Device):
    """Random bytes. A request gets at most 4 KiB."""

    kind = 4
    features = VERSION_1

    def notified(self, queue: int) -> None:
        """See :class:`Device`."""
        requests = self.queues[0]
        served = False
        for _ in range(requests.size):
            chain = requests.pop()
            if chain is None:
                break
            requests.push(chain, chain.fill(os.urandom(min(_MOST, chain.write_size))))
            served = True
        if served:
            self.interrupt(requests)
