"""Types of the extension module; each function raises OSError with the errno of its system call."""

from collections.abc import Sequence

def spawn(
    executable: int,
    argv: Sequence[bytes],
    env: Sequence[bytes],
    fds: Sequence[int],
    cwd: int = -1,
    new_session: bool = False,
) -> tuple[int, int]: ...
def reap(pidfd: int, block: bool = False) -> int | None: ...
