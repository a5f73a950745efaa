"""Hooks that run when the container's process is on its own, or gone: poststart and poststop.

The others are operations of the plan. config.md, "POSIX-platform Hooks".
"""

from __future__ import annotations

import os

from trimaran.linux import _sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.spec.runtime import Hook

SIGKILL = 9
_MAX_OUTPUT = 4096


def run_all(hooks: list[Hook], kind: str, state: str) -> list[str]:
    """Run hooks in order, with the container's state on their input; a failure is a warning (runtime.md,
    "Lifecycle", steps 9 and 14), and the next one runs all the same."""
    warnings = []
    for number, hook in enumerate(hooks):
        fault = _run(hook, state.encode())
        if fault:
            warnings.append(f"$.hooks.{kind}[{number}]: {hook.path}: {fault}")
    return warnings


def _run(hook: Hook, state: bytes) -> str:
    """Why the hook failed, or nothing."""
    try:
        executable = os.open(hook.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return os.strerror(error.errno or 0)
    input_read, input_write = os.pipe2(os.O_CLOEXEC)
    output_read, output_write = os.pipe2(os.O_CLOEXEC)
    try:
        arguments = [os.fsencode(argument) for argument in hook.args or [hook.path]]
        if hook.env is None:
            environment = [name + b"=" + value for name, value in os.environb.items()]
        else:
            environment = [os.fsencode(variable) for variable in hook.env]
        try:
            _, pidfd = _sys.spawn(
                executable, arguments, environment, (input_read, output_write, output_write)
            )
        except OSError as error:
            return os.strerror(error.errno or 0)
        os.close(output_write)
        output_write = -1
        # A pipe holds 64 KiB: more state than that is not written while nobody may be reading.
        os.write(input_write, state[: 1 << 16])
        os.close(input_write)
        input_write = -1
        return _await(pidfd, output_read, hook.timeout)
    finally:
        for fd in (executable, input_read, input_write, output_read, output_write):
            if fd >= 0:
                os.close(fd)


def _await(pidfd: int, output: int, timeout: int | None) -> str:
    import select
    import time

    end = time.monotonic() + timeout if timeout else None
    text = b""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(output, select.POLLIN)
    while True:
        left = None if end is None else max(0, int((end - time.monotonic()) * 1000))
        ready = dict(poll.poll(left))
        if output in ready:
            part = os.read(output, _MAX_OUTPUT)
            text = (text + part)[:_MAX_OUTPUT]
            if not part:
                poll.unregister(output)
            continue
        late = not ready
        if late:
            _sys.send_signal(pidfd, SIGKILL)
        code = _sys.reap(pidfd, True)
        os.close(pidfd)
        if late:
            return f"took longer than {timeout} seconds"
        if not code:
            return ""
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        return f"{how}: {text.decode('utf-8', 'replace').strip()}".rstrip(": ")
