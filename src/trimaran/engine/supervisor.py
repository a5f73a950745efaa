"""What nobody waits for: restarts, health checks, and removal of detached containers, without a daemon.

The first start of a container that needs it starts one small process for the root directory. It holds
RUN/supervisor.lock, looks after all such containers, and ends when there are none left. When it is killed,
containers go on; the next start that needs it, or ``trimaran serve``, takes over.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time

from trimaran.engine import ending, starting
from trimaran.engine.core import Core
from trimaran.engine.health import Health, check_of
from trimaran.engine.options import Options
from trimaran.errors import InvalidInput, NotFound, TrimaranError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.engine.store import Record

PERIOD_SECONDS = 0.2
LINGER_SECONDS = 2.0
FIRST_DELAY, MOST_DELAY = 0.1, 60.0
# Who has run this long has started well: the next delay is the first again.
STEADY_NS = 10 * 10**9
POLICIES = ("no", "on-failure", "always", "unless-stopped")
_CODE = (
    "import sys; sys.path[:] = sys.argv[2:]; from trimaran.engine.supervisor import main; main(sys.argv[1])"
)


def parse_policy(text: str) -> tuple[str, int]:
    """``on-failure:3`` as its name and the most restarts (0: no limit). Raises InvalidInput."""
    name, colon, count = (text or "no").partition(":")
    if name not in POLICIES or (colon and not (name == "on-failure" and count.isdigit())):
        raise InvalidInput(
            f"'{text}' is no restart policy", hint=f"one of {', '.join(POLICIES)}, on-failure:N"
        )
    return name, int(count or 0)


def needed(core: Core, record: Record, *, attached: bool = False) -> bool:
    """Whether somebody has to look after a container that runs by itself (or with someone attached)."""
    options = Options(record.options)
    policy, _ = parse_policy(options.restart)
    left = options.auto_remove and not attached
    return policy != "no" or left or check_of(core, record) is not None


def ensure(core: Core) -> None:
    """Start the supervisor of a root directory unless there is one."""
    fd = _lock_file(core)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    finally:
        os.close(fd)
    from subprocess import DEVNULL, Popen

    path = [os.path.abspath(entry) for entry in sys.path if entry]
    words = [sys.executable, "-I", "-S", "-c", _CODE, core.paths.root, *path]
    environment = {**os.environ, "TRIMARAN_ROOT": core.paths.root} if core.paths.chosen else dict(os.environ)
    process = Popen(
        words, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True, env=environment
    )
    # It outlives us; if we live longer, it is collected when it ends.
    threading.Thread(target=process.wait, daemon=True).start()


def _lock_file(core: Core) -> int:
    path = os.path.join(core.paths.run, "supervisor.lock")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def main(root: str) -> None:
    """The supervisor's process."""
    core = Core(root if "TRIMARAN_ROOT" in os.environ else None)
    fd = _lock_file(core)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    supervisor = Supervisor(core)
    while True:
        supervisor.run()
        # Whoever came while we were about to leave has seen the lock, and relies on us.
        fcntl.flock(fd, fcntl.LOCK_UN)
        if not supervisor.look():
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return


class Supervisor:
    """Looks after the containers of one root directory that need it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._due: dict[str, tuple[int, float]] = {}
        self._health: dict[str, Health] = {}

    def run(self) -> None:
        """Until there has been nothing to look after for a while."""
        last = time.monotonic()
        while time.monotonic() - last < LINGER_SECONDS:
            if self.look():
                last = time.monotonic()
            time.sleep(PERIOD_SECONDS)

    def look(self) -> int:
        """One look at each container; how many need more of them."""
        count = 0
        for record in self._core.containers.list("state IN ('starting', 'running', 'paused', 'exited')"):
            try:
                count += self._one(record)
            except (TrimaranError, OSError) as error:
                # Its next look, or its user, will meet the same error; the others are not to suffer.
                self._core.containers.change(record.id, error=str(error))
        return count

    def _one(self, record: Record) -> bool:
        if record.lease or not needed(self._core, record):
            return False
        if record.state == "starting":
            return True
        try:
            record = ending.refresh(self._core, record)
        except NotFound:
            return False
        if record.state in ending.LIVE:
            self._check_health(record)
            return True
        return self._ended(record)

    def _ended(self, record: Record) -> bool:
        self._health.pop(record.id, None)
        if Options(record.options).auto_remove:
            ending.remove(self._core, record.id, volumes=True)
            return False
        if not wants_restart(record):
            self._due.pop(record.id, None)
            return False
        attempts, due = self._due.get(record.id, (0, 0.0))
        if not due:
            steady = record.finished - record.started > STEADY_NS
            attempts = 0 if steady else attempts
            delay = min(MOST_DELAY, FIRST_DELAY * 2**attempts)
            self._due[record.id] = attempts + 1, time.monotonic() + delay
        elif time.monotonic() >= due:
            self._due[record.id] = attempts, 0.0
            self._core.containers.change(record.id, restarts=record.restarts + 1)
            starting.start(self._core, record.id)
        return True

    def _check_health(self, record: Record) -> None:
        check = check_of(self._core, record)
        if check is None:
            return
        known = self._health.get(record.id)
        if known is None or known.started != record.started:
            known = self._health[record.id] = Health(self._core, record, check)
        known.look()


def wants_restart(record: Record) -> bool:
    """Whether an exited container is to be started again."""
    policy, most = parse_policy(Options(record.options).restart)
    if policy == "no" or record.stopped:
        return False
    if policy == "on-failure":
        return record.exit_code != 0 and (not most or record.restarts < most)
    return True
