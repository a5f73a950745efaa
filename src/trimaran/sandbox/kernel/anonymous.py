"""Inodes of what has no name: pipes, sockets, event files (anon_inode, pipefs, sockfs)."""

from __future__ import annotations

from trimaran.sandbox.kernel.vfs.inode import FileSystem, Inode


class AnonymousFs(FileSystem):
    kind = b"anon_inodefs"
    magic = 0x09041934


class PipeFs(FileSystem):
    kind = b"pipefs"
    magic = 0x50495045


class SocketFs(FileSystem):
    kind = b"sockfs"
    magic = 0x534F434B


ANONYMOUS, PIPES, SOCKETS = AnonymousFs(), PipeFs(), SocketFs()


def anonymous_inode() -> Inode:
    return Inode(ANONYMOUS, 0o600)
