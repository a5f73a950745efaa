"""Running one CNI plugin: its input, its environment, its answer, and its own words when it fails."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from trimaran.errors import NetworkError, NotFound, SpecError, TimedOut
from trimaran.linux.files import sealed
from trimaran.spec import jsonio
from trimaran.spec.cni import PluginError

SECONDS = 60.0
_ANSWER_LIMIT = 1 << 20
_WORDS_LIMIT = 1 << 12
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Failed(NetworkError):
    """A plugin said that it failed; ``code`` is its number (section 5 of the specification)."""

    def __init__(self, message: str, *, code: int, why: str, hint: str = "") -> None:
        super().__init__(message, why=why, hint=hint)
        self.code = code


def find(kind: str, directories: Sequence[str]) -> str:
    """The path of a plugin's program. Raises NotFound."""
    for directory in directories:
        path = os.path.join(directory, kind)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise NotFound(
        f"no CNI plugin {kind}",
        why=f"it is not in {', '.join(directories)}",
        hint="apt-get install containernetworking-plugins",
    )


def run(
    command: str,
    kind: str,
    config: Mapping[str, Any],
    variables: Mapping[str, str],
    directories: Sequence[str],
    *,
    seconds: float = SECONDS,
) -> Any:
    """Run a plugin's command (ADD, DEL...); its answer as parsed JSON, None if it said nothing.

    Raises :class:`Failed` with the plugin's words, NotFound, TimedOut, or NetworkError for an answer that
    is not the protocol's.
    """
    path = find(kind, directories)
    environment = {
        "PATH": os.environ.get("PATH", _PATH),
        "CNI_COMMAND": command,
        "CNI_PATH": ":".join(directories),
        **variables,
    }
    code, answer, words = _execute(path, jsonio.dump(dict(config)).encode(), environment, command, seconds)
    if code:
        raise _failed(command, kind, code, answer, words)
    if not answer.strip():
        return None
    try:
        return jsonio.parse(answer)
    except SpecError as error:
        why = f"{error.why}; it wrote {_shown(answer)}"
        raise NetworkError(f"CNI plugin {kind} answered {command} with nonsense", why=why) from None


def _execute(
    path: str, config: bytes, environment: Mapping[str, str], command: str, seconds: float
) -> tuple[int, bytes, bytes]:
    # Its input is a file, so that a plugin which does not read cannot stop us.
    source = sealed("cni-config", config)
    try:
        process = subprocess.Popen(
            [path],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise NetworkError(f"cannot run CNI plugin {path}", why=error.strerror or "") from error
    finally:
        os.close(source)
    with process:
        try:
            answer, words = _collect(process, time.monotonic() + seconds)
            return process.wait(), answer, words
        except TimeoutError:
            raise TimedOut(
                f"CNI plugin {os.path.basename(path)} did not finish {command}",
                why=f"it took more than {seconds:g} s",
            ) from None
        finally:
            # Whatever it has left running in its session would hold the pipes.
            _kill_group(process.pid)


def _collect(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
    """Both outputs to their ends, each cut to its limit: a plugin may write without end."""
    assert process.stdout
    assert process.stderr
    found = {process.stdout: b"", process.stderr: b""}
    with selectors.DefaultSelector() as selector:
        for stream in found:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                piece = os.read(key.fd, 1 << 16)
                if piece:
                    stream = process.stdout if key.fileobj is process.stdout else process.stderr
                    limit = _ANSWER_LIMIT if stream is process.stdout else _WORDS_LIMIT
                    found[stream] = (found[stream] + piece)[:limit]
                else:
                    selector.unregister(key.fileobj)
    return found[process.stdout], found[process.stderr]


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _failed(command: str, kind: str, code: int, answer: bytes, words: bytes) -> NetworkError:
    message = f"CNI plugin {kind} failed to {command}"
    try:
        error = PluginError.parse(jsonio.parse(answer))
    except SpecError:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        said = _shown(answer or words)
        return NetworkError(message, why=f"{how}, without a reason in the protocol's form; it wrote {said}")
    why = ": ".join(filter(None, (error.msg, error.details))) or f"code {error.code}"
    return Failed(message, code=error.code, why=why)


def _shown(data: bytes) -> str:
    text = "".join(c if c.isprintable() else " " for c in data.decode(errors="replace")).strip()
    return repr(text if len(text) <= 200 else text[:200] + "...") if text else "nothing"
