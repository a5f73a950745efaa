"""The engine on one root directory: the library's front door."""

from __future__ import annotations

from trimaran.engine import creation, ending, recovery, running, starting
from trimaran.engine.container import Container
from trimaran.engine.core import Core
from trimaran.engine.options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from os import PathLike
    from typing import Unpack

    from trimaran.engine.events import Event
    from trimaran.engine.options import OptionsDict
    from trimaran.engine.result import Result
    from trimaran.image.images import Images


class Engine:
    """Everything that one root directory holds. Any number of engines may be at it at once.

    ``root`` is the directory (None: TRIMARAN_ROOT, else the default one). Use it in a ``with`` statement,
    or close it. What processes that were killed left half done is repaired when it is opened. Raises
    :class:`~trimaran.errors.TrimaranError` if the directory cannot be used.
    """

    def __init__(self, root: str | PathLike[str] | None = None) -> None:
        self.core = Core(root)
        self.repaired = recovery.recover(self.core)

    @property
    def images(self) -> Images:
        """The images: pull, push, tag, load, save, remove, check, ..."""
        from trimaran.image.images import Images

        return Images(self.core.images, self.core.snapshots)

    def run(
        self,
        image: str,
        command: Sequence[str] | None = None,
        *,
        stdin: bytes = b"",
        timeout: float | None = None,
        check: bool = False,
        output_limit: int = running.DEFAULT_LIMIT,
        on_output: Callable[[str, bytes], None] | None = None,
        **options: Unpack[OptionsDict],
    ) -> Result:
        """Run a command in a new container of an image, and remove it: exit code and output.

        ``timeout`` is in seconds. ``on_output`` gets each piece of output as it comes (``"stdout"`` or
        ``"stderr"``, and the bytes) instead of its being collected; of what is collected, at most
        ``output_limit`` bytes of each stream are kept. With ``check``, an exit code other than 0 raises
        CommandFailed. If this process is killed, the container ends with it.

        Raises TimedOut, CommandNotFound, CommandNotExecutable, NotFound (no such image), and others.
        """
        result = running.run(
            self.core,
            image,
            command,
            Options(options),
            stdin=stdin,
            timeout=timeout,
            limit=output_limit,
            piece=on_output,
        )
        return result.check() if check else result

    def create(
        self,
        image: str,
        command: Sequence[str] | None = None,
        *,
        lease: bool = False,
        **options: Unpack[OptionsDict],
    ) -> Container:
        """Create a container, which :meth:`Container.start` starts.

        With ``lease`` it is removed when this process ends without having done so. Raises Conflict if the
        name is taken, NotFound if there is no such image, InvalidInput.
        """
        from trimaran.state import owner_identity

        chosen = Options(options)
        found = creation.obtain(self.core, image, chosen)
        owner = owner_identity() if lease else ""
        id, _ = creation.create(self.core, found, image, command, chosen, lease=owner)
        return Container(self.core, id)

    def start(
        self,
        image: str,
        command: Sequence[str] | None = None,
        *,
        streams: starting.Streams = starting.DEFAULT_STREAMS,
        **options: Unpack[OptionsDict],
    ) -> Container:
        """Create a container and start it, in one step; if it cannot be started, it is removed again."""
        chosen = Options(options)
        found = creation.obtain(self.core, image, chosen)
        id, root = creation.create(self.core, found, image, command, chosen, starting=True)
        try:
            starting.run(self.core, id, found, chosen, root, streams)
        except BaseException:
            ending.remove(self.core, id, force=True, volumes=True)
            raise
        container = Container(self.core, id)
        if streams is starting.DEFAULT_STREAMS:
            container.look_after()
        return container

    def get(self, name: str) -> Container:
        """The container of that name, id, or start of an id. Raises NotFound or Conflict."""
        return Container(self.core, self.core.containers.find(name).id)

    def containers(self, *, all: bool = False) -> list[Container]:
        """The running containers, or all; the newest first."""
        where = "" if all else "state IN ('running', 'paused')"
        return [Container(self.core, record.id) for record in self.core.containers.list(where)]

    def names(self) -> list[str]:
        """The names of all containers."""
        return [row[0] for row in self.core.database.connection().execute("SELECT name FROM container")]

    def events(
        self, *, since: int = 0, until: int = 0, follow: Callable[[], bool] | None = None
    ) -> Iterator[Event]:
        """What happened between two times, in nanoseconds since the epoch; with ``follow``, on and on."""
        from trimaran.engine import events

        return events.stream(self.core, since=since, until=until, follow=follow)

    def close(self) -> None:
        """Let go of the root directory. Containers live on."""
        self.core.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
