"""Types of the extension module; each function raises OSError with the errno of its system call."""

from collections.abc import Sequence

def spawn(
    executable: int,
    argv: Sequence[bytes],
    env: Sequence[bytes],
    fds: Sequence[int],
    cwd: int = -1,
    new_session: bool = False,
    death_signal: int = 0,
) -> tuple[int, int]: ...
def reap(pidfd: int, block: bool = False) -> int | None: ...
def send_signal(pidfd: int, signal: int) -> None: ...

class _Unpacker: ...  # an opaque capsule

def unpack_new(
    fd: int,
    uids: Sequence[tuple[int, int, int]],
    gids: Sequence[tuple[int, int, int]],
    flags: int,
    max_entries: int,
    max_size: int,
) -> _Unpacker: ...
def unpack_feed(unpacker: _Unpacker, data: bytes | bytearray | memoryview) -> None: ...
def unpack_finish(
    unpacker: _Unpacker,
) -> tuple[int, int, list[bytes], list[tuple[bytes, bytes]], bool, int, int]: ...
def unpack_close(unpacker: _Unpacker) -> None: ...
def remove_tree(fd: int, name: bytes) -> None: ...
def buffer_address(buffer: object) -> int: ...
def tsc_khz() -> int: ...
