"""Directories of the host shown to a guest: a FUSE server whose client is the guest's kernel.

The agent mounts ``/dev/fuse`` and relays its messages; the server here answers them. Whatever the guest
sends, the server stays inside the shared directory: it walks by descriptor, one name at a time, never
through a link, and it opens nothing but regular files and directories. A read-only share refuses every
change here, whatever the guest mounted it as.
"""

from __future__ import annotations

from trimaran.vm.share.server import Server

__all__ = ["Server"]
