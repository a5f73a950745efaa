"""What a finished run gives back."""

from __future__ import annotations

from trimaran.errors import TrimaranError


class Result:
    """How a command in a container ended. ``stdout`` and ``stderr`` are bytes."""

    __slots__ = ("command", "container_id", "exit_code", "oom", "stderr", "stdout")

    def __init__(
        self,
        exit_code: int,
        stdout: bytes = b"",
        stderr: bytes = b"",
        *,
        oom: bool = False,
        container_id: str = "",
        command: tuple[str, ...] = (),
    ) -> None:
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr
        self.oom = oom
        self.container_id = container_id
        self.command = command

    @property
    def text(self) -> str:
        """The standard output as UTF-8, with replacement characters for what is none."""
        return self.stdout.decode("utf-8", "replace")

    def check(self) -> Result:
        """This result, if the exit code is 0. Raises :class:`CommandFailed` otherwise."""
        if self.exit_code:
            raise CommandFailed(self)
        return self

    def __repr__(self) -> str:
        return f"Result(exit_code={self.exit_code}, stdout={self.stdout[:60]!r}, stderr={self.stderr[:60]!r})"


class CommandFailed(TrimaranError):
    """A command in a container ended with an exit code other than 0; ``result`` has it and the output."""

    def __init__(self, result: Result) -> None:
        tail = result.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        super().__init__(f"the command ended with exit code {result.exit_code}", why=tail)
        self.result = result
        self.exit_code = result.exit_code
