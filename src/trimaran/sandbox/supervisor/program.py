"""A caller's own Python in the supervisor: a file with any of three functions.

    def settings(settings): ...     # before the sandbox is made (Settings)
    def hooks(hooks): ...           # when it is made, before anything runs in it (Hooks)
    def finished(kernel): ...       # when its first process has ended (Kernel)

The file is the option ``sandbox.program`` of a container. It is trusted as the supervisor is, and runs in its
jail: files that it needs are to be opened in the first two functions, and modules to be imported there.
"""

from __future__ import annotations

from trimaran.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMES = ("settings", "hooks", "finished")


class Program:
    """The functions of a program file; those that it lacks do nothing."""

    def __init__(self, path: str) -> None:
        self.functions: dict[str, Any] = {}
        if not path:
            return
        try:
            with open(path, "rb") as file:
                code = compile(file.read(), path, "exec")
        except (OSError, SyntaxError, ValueError) as error:
            raise InvalidInput(f"cannot load the sandbox program {path}", why=str(error)) from error
        scope: dict[str, Any] = {"__name__": "trimaran_sandbox_program", "__file__": path}
        exec(code, scope)
        self.functions = {name: scope[name] for name in NAMES if callable(scope.get(name))}
        if not self.functions:
            raise InvalidInput(f"{path} is no sandbox program", why=f"it has none of {', '.join(NAMES)}")

    def run(self, name: str, argument: object) -> None:
        function = self.functions.get(name)
        if function is not None:
            function(argument)
