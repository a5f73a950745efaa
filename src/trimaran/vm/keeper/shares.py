"""Shares of a machine: for each a FUSE server here and a mount in the guest."""

from __future__ import annotations

import os
import stat

from trimaran.errors import KernelError
from trimaran.vm.agent import Agent
from trimaran.vm.protocol import Op
from trimaran.vm.share import Server

_MS_RDONLY, _MS_NOSUID, _MS_NODEV = 1, 2, 4
_MNT_DETACH = 2


class Mounted:
    """One share that is mounted in the guest."""

    def __init__(self, relay: Agent, server: Server, target: str) -> None:
        self.channel = relay.open_messages(self)
        self.target = target
        self._relay = relay
        self._server = server

    def received(self, data: bytes) -> None:
        """The guest's kernel asks."""
        answer = self._server.answer(data)
        if answer is not None and not self._relay.lost.done():
            self._relay.send_data(self.channel, answer)

    def ended(self) -> None:
        """The guest has unmounted it, or is gone."""
        self._server.close()

    def credited(self, count: int) -> None:
        """Meaningless for messages."""


async def mount(agent: Agent, relay: Agent, source: str, target: str, *, read_only: bool) -> Mounted:
    """Show SOURCE of the host at TARGET in the guest, which is made. Raises :class:`KernelError`."""
    try:
        root = os.open(source, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError("open", error.errno or 0, source, hint="does it exist on the host?") from error
    server = Server(root, read_only=read_only)
    mounted = Mounted(relay, server, target)
    try:
        await _make_target(agent, target, stat.S_ISDIR(server.root_mode))
        options = (
            f"rootmode={stat.S_IFMT(server.root_mode):o},user_id=0,group_id=0,"
            "allow_other,default_permissions,max_read=262144"
        )
        await relay.call(Op.SHARE, target, options, mounted.channel, _MS_RDONLY if read_only else 0)
    except BaseException:
        relay.close_channel(mounted.channel)
        server.close()
        raise
    return mounted


async def _make_target(agent: Agent, target: str, directory: bool) -> None:
    if directory:
        await agent.call(Op.MKDIR, target, 0o755)
        return
    await agent.call(Op.MKDIR, os.path.dirname(target), 0o755)
    await agent.call(Op.WRITE, target, os.O_CREAT, 0o644, b"")


async def unmount(agent: Agent, mounted: Mounted) -> None:
    """Take a share out of the guest; its server closes when the guest's kernel lets go."""
    await agent.call(Op.UMOUNT, mounted.target, _MNT_DETACH)
