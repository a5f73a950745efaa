"""Programming a sandbox: callables before and after any call, and over files and connections.

    sandbox = ...                                  # a trimaran.sandbox.sandbox.Sandbox
    hooks = Hooks(sandbox.kernel)
    hooks.before("openat", lambda call: deny(errno.EACCES) if call.path == b"/etc/shadow" else None)
    hooks.after("write", lambda call, result: print(call.name, result))
    hooks.connections(lambda call: deny(errno.EACCES) if call.address[1] == 25 else None)

A hook runs in the supervisor, between two calls: it must not wait, and must not raise. What it is given was
read once, when the call was made; the kernel acts on the same bytes. A ``before`` hook returns None
(go on), :func:`allow` (go on, and ask no other hook), :func:`deny` or :func:`replace`. An ``after`` hook
returns None or a new result. Hooks run in the order in which they were added. Calls in the table of native
ones (:mod:`trimaran.sandbox.policy`) come to no hook, unless ``Settings.without_native`` names them.
"""

from __future__ import annotations

from trimaran.errors import InvalidInput
from trimaran.sandbox.abi import NAMES, NUMBERS
from trimaran.sandbox.kernel.outcome import Answered, Block, Continue, Fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from trimaran.sandbox.kernel.kernel import Kernel
    from trimaran.sandbox.kernel.table import Handler
    from trimaran.sandbox.kernel.task import Task

PATH_CALLS = frozenset(
    (
        *(
            "open",
            "openat",
            "openat2",
            "creat",
            "execve",
            "execveat",
            "unlink",
            "unlinkat",
            "rename",
            "renameat",
        ),
        *(
            "renameat2",
            "mkdir",
            "mkdirat",
            "rmdir",
            "link",
            "linkat",
            "symlink",
            "symlinkat",
            "truncate",
            "chmod",
        ),
        *(
            "fchmodat",
            "chown",
            "lchown",
            "fchownat",
            "mknod",
            "mknodat",
            "stat",
            "lstat",
            "newfstatat",
            "statx",
        ),
        *("access", "faccessat", "faccessat2", "readlink", "readlinkat", "chdir", "setxattr", "utimensat"),
    )
)


class Call:
    """One call, before it is executed. ``args`` are the six register values.

    ``path`` and ``path2`` are its path arguments as the program wrote them; None if it has none.
    ``address`` is where a connect goes to: host and port.
    """

    __slots__ = ("address", "args", "data", "name", "path", "path2", "pid", "program", "tid", "uid")

    def __init__(self, task: Task, number: int, args: tuple[int, ...]) -> None:
        self.name = NAMES.get(number, f"call {number}")
        self.args = args
        self.pid = task.process.pid
        self.tid = task.guest_tid
        self.uid = task.process.cred.euid
        self.program = task.process.name()
        first, second = task.first, task.second
        self.data = first if self.name == "write" and isinstance(first, bytes) else None
        self.path = first if self.data is None and isinstance(first, bytes) else None
        self.path2 = second if isinstance(second, bytes) else None
        self.address: tuple[str, int] | None = None

    def __repr__(self) -> str:
        shown = self.path.decode("utf-8", "replace") if self.path is not None else ""
        return f"{self.name}({shown or ', '.join(hex(a) for a in self.args)}) by {self.program}[{self.pid}]"


class Verdict:
    """What a hook decided: ``result`` is what the call returns in the place of being executed."""

    __slots__ = ("result", "why")

    def __init__(self, result: int | None, why: str = "") -> None:
        self.result = result
        self.why = why


def allow() -> Verdict:
    """Go on with the call, and ask no other hook."""
    return Verdict(None)


def deny(errno: int, why: str = "") -> Verdict:
    """The call fails with ERRNO; WHY is kept among the denials that the sandbox explains."""
    return Verdict(-errno, why or "a hook denies it")


def replace(result: int) -> Verdict:
    """The call is not executed, and returns RESULT."""
    return Verdict(result)


class Hooks:
    """The hooks of one sandbox. A call without hooks costs nothing more than without this object."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._before: dict[int, list[Callable[[Call], Verdict | None]]] = {}
        self._after: dict[int, list[Callable[[Call, int], int | None]]] = {}
        self._plain: dict[int, Handler | None] = {}
        self._connections: list[Callable[[Call], Verdict | None]] = []

    def before(self, name: str, hook: Callable[[Call], Verdict | None]) -> None:
        """Run HOOK before every call NAME; ``*`` stands for all. Raises :class:`InvalidInput`."""
        for number in self._numbers(name):
            self._before.setdefault(number, []).append(hook)
            self._wrap(number)

    def after(self, name: str, hook: Callable[[Call, int], int | None]) -> None:
        """Run HOOK after every call NAME, with its result (minus an errno: it failed)."""
        for number in self._numbers(name):
            self._after.setdefault(number, []).append(hook)
            self._wrap(number)

    def files(self, hook: Callable[[Call], Verdict | None]) -> None:
        """Run HOOK before every call that names a file."""
        for name in sorted(PATH_CALLS & set(NUMBERS)):
            self.before(name, hook)

    def connections(self, hook: Callable[[Call], Verdict | None]) -> None:
        """Run HOOK before a connection is made or a datagram sent; ``call.address`` says where to."""
        if not self._connections:
            self._guard_network()
        self._connections.append(hook)

    def _numbers(self, name: str) -> list[int]:
        if name == "*":
            return sorted(n for n in NAMES if n < len(self.kernel.table))
        if name not in NUMBERS:
            raise InvalidInput(f"there is no system call {name}")
        return [NUMBERS[name]]

    def _wrap(self, number: int) -> None:
        if number in self._plain:
            return
        self._plain[number] = self.kernel.table[number]
        self.kernel.table[number] = self._wrapped(number)

    def _wrapped(self, number: int) -> Handler:
        def handler(task: Task, *args: int) -> int:
            call = Call(task, number, args)
            # A call that waited is tried again: it was asked about when it was made.
            if task.parked is None:
                verdict = self._decide(task, call, self._before.get(number, ()))
                if verdict is not None:
                    return verdict
            return self._execute(task, call, number, args)

        return handler

    def _decide(
        self, task: Task, call: Call, hooks: list[Callable[[Call], Verdict | None]] | tuple[()]
    ) -> int | None:
        for hook in hooks:
            verdict = hook(call)
            if verdict is None:
                continue
            if verdict.why:
                self.kernel.denied(task, call.name, repr(call), verdict.why)
            return verdict.result
        return None

    def _execute(self, task: Task, call: Call, number: int, args: tuple[int, ...]) -> int:
        plain = self._plain[number]
        try:
            result = plain(task, *args) if plain is not None else self.kernel.missing(task, number, args)
        except (Block, Answered):
            raise
        except Continue:
            self._finish(call, number, 0)
            raise
        except Fail as failure:
            result = -failure.errno
        except OSError as error:
            result = -(error.errno or 5)
        return self._finish(call, number, result)

    def _finish(self, call: Call, number: int, result: int) -> int:
        for hook in self._after.get(number, ()):
            changed = hook(call, result)
            if changed is not None:
                result = changed
        return result

    def _guard_network(self) -> None:
        network = self.kernel.network
        plain = network.check_connect

        def check(task: Task, socket: object, address: tuple[str | int, ...]) -> tuple[str | int, ...]:
            call = Call(task, NUMBERS["connect"], (0,) * 6)
            call.address = (str(address[0]), int(address[1]))
            result = self._decide(task, call, self._connections)
            if result is not None:
                raise Fail(-result)
            return plain(task, socket, address)  # type: ignore[arg-type]

        network.check_connect = check  # type: ignore[method-assign]
