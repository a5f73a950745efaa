"""The errors of Trimaran: what failed, why, and what to do about it.

    TrimaranError                 anything below; str() is one line for people
    ├── InvalidInput              something given by the caller is wrong
    │   ├── SpecError             an OCI, CNI, CRI or CSI document, with the JSON path of the fault
    │   └── InvalidReference      an image reference
    ├── NotFound                  no such container, image, network, volume, file
    ├── Conflict                  a name, port or address is taken, or the state forbids the request
    ├── Unsupported               this kernel, host or build lacks what the request needs
    ├── KernelError               a system call failed: errno, call, path
    │   └── PlanError             one operation of a plan failed: also its index and step
    ├── CommandNotFound           the container's program does not exist (exit code 127)
    ├── CommandNotExecutable      the container's program cannot be started (exit code 126)
    ├── ImageError                an image, layer or manifest is broken
    │   └── IntegrityError        content does not match its digest or size
    ├── RegistryError             a registry refused, or answered nonsense
    │   └── Unauthorized          ... for lack of (right) credentials
    ├── NetworkError              a container's network could not be made or removed
    ├── GuestError                a microVM's guest, or a sandbox's supervisor, failed or lied
    └── TimedOut                  a limit of time ran out

This module imports nothing: it lies on the path that starts a container.
"""

from __future__ import annotations


class TrimaranError(Exception):
    """An error with its cause and its remedy.

    ``message`` says what failed, ``why`` the reason, ``hint`` what to do; ``exit_code`` is the exit
    status of a command that ends with this error (125 unless a subclass says otherwise).
    """

    exit_code = 125

    def __init__(self, message: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.message}: {self.why}" if self.why else self.message
        return f"{text} ({self.hint})" if self.hint else text


class InvalidInput(TrimaranError):
    """What the caller gave is wrong; nothing has been changed."""


class SpecError(InvalidInput):
    """A document breaks its specification at ``path``, such as ``$.process.user.uid``."""

    def __init__(self, path: str, why: str, *, hint: str = "") -> None:
        super().__init__(path, why=why, hint=hint)
        self.path = path


class InvalidReference(InvalidInput):
    """An image reference that cannot be parsed."""


class NotFound(TrimaranError):
    """No object of that name."""


class Conflict(TrimaranError):
    """The request contradicts the present state, or a name is taken."""


class Unsupported(TrimaranError):
    """This kernel, host or build cannot do what was asked."""


class KernelError(TrimaranError):
    """A system call failed. ``errno`` is its number, ``call`` its name, ``path`` what it worked on."""

    def __init__(self, call: str, errno: int, path: str = "", *, message: str = "", hint: str = "") -> None:
        import os

        where = f" {path}" if path else ""
        super().__init__(message or f"{call}{where}", why=os.strerror(errno), hint=hint)
        self.call = call
        self.errno = errno
        self.path = path


class PlanError(KernelError):
    """Operation ``index`` of a plan failed at ``step``."""

    def __init__(
        self, index: int, step: str, errno: int, path: str = "", *, message: str = "", hint: str = ""
    ) -> None:
        super().__init__(step, errno, path, message=message, hint=hint)
        self.index = index
        self.step = step


class CommandNotFound(TrimaranError):
    """The program to run does not exist in the container."""

    exit_code = 127


class CommandNotExecutable(TrimaranError):
    """The program to run exists, but the kernel refuses to start it."""

    exit_code = 126


class ImageError(TrimaranError):
    """An image, a layer or a manifest is not what its specification demands."""


class IntegrityError(ImageError):
    """Content does not match the digest or size that was promised for it."""


class RegistryError(TrimaranError):
    """A registry refused a request, or answered outside the protocol.

    ``status`` is the HTTP status, 0 if it did not answer.
    """

    def __init__(self, message: str, *, status: int = 0, why: str = "", hint: str = "") -> None:
        super().__init__(message, why=why, hint=hint)
        self.status = status


class Unauthorized(RegistryError):
    """A registry wants credentials, or other ones."""


class NetworkError(TrimaranError):
    """A container's network could not be set up, changed or taken down."""


class GuestError(TrimaranError):
    """The other side of an isolation (a guest, a supervisor) failed, or answered outside the protocol."""


class TimedOut(TrimaranError):
    """A limit of time ran out."""
