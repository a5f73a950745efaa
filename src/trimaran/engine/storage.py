"""The mounts that a container's user asks for, and the volumes that its image declares."""

from __future__ import annotations

import os

from trimaran.state import text as json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trimaran.engine.core import Core
    from trimaran.engine.options import Options
    from trimaran.image.model import Image
    from trimaran.volume.manager import Prepared, VolumeManager
    from trimaran.volume.model import MountRequest


def manager(core: Core) -> VolumeManager:
    """The volumes of the root directory."""
    from trimaran.volume.manager import VolumeManager

    directory = os.path.join(core.paths.root, "volumes")
    os.makedirs(directory, 0o700, exist_ok=True)
    return VolumeManager(core.database, directory)


def requested(options: Options, image: Image) -> list[MountRequest]:
    """All mounts, those of the image's volumes where the user mounts nothing himself.

    Raises InvalidInput, also for a volume of the image that is no path inside the container.
    """
    declared = image.run_config.get("Volumes") or {}
    if not (options.volumes or options.mounts or options.tmpfs or declared):
        return []
    from trimaran.volume import parse
    from trimaran.volume.model import MountRequest

    found = [parse.parse_volume(text) for text in options.volumes]
    found += [parse.parse_mount(text) for text in options.mounts]
    found += [parse.parse_tmpfs(text) for text in options.tmpfs]
    taken = {os.path.normpath(request.target) for request in found}
    for path in declared:
        target = parse.checked_target(path, "the image's volume", path)
        if os.path.normpath(target) not in taken:
            found.append(MountRequest("volume", target))
    return found


def settle(core: Core, id: str, requests: Sequence[MountRequest]) -> str:
    """Make the volumes that are missing, count the container among their users; the requests as JSON."""
    if not requests:
        return "[]"
    from dataclasses import asdict

    return json.dumps([asdict(request) for request in manager(core).use(id, requests)])


def load(text: str) -> list[MountRequest]:
    """What :func:`settle` gave."""
    if text == "[]":
        return []
    from trimaran.volume.model import IdMap, MountRequest

    found = []
    for fields in json.loads(text):
        if idmap := fields["idmap"]:
            fields["idmap"] = IdMap(
                tuple(map(tuple, idmap["uids"])), tuple(map(tuple, idmap["gids"])), idmap["recursive"]
            )
        fields["flags"] = tuple(fields["flags"])
        found.append(MountRequest(**fields))
    return found


def prepare(core: Core, requests: Sequence[MountRequest], image: Image, isolation: str) -> Prepared:
    """The mounts for the configuration; to be closed when the container is created."""
    chain = image.chain_ids
    image_root: Callable[[], int] | None = (lambda: core.snapshots.open_chain(chain[-1])) if chain else None
    # A foreign runtime takes a source only in the mount namespace that it has made for the container.
    ours = not isolation.startswith("oci:")
    return manager(core).prepare(
        requests, image_root, image_layers=lambda name: layers(core, name), by_descriptor=ours
    )


def layers(core: Core, name: str) -> list[str]:
    """The layer directories of an image, the uppermost first; it is pulled if it is not here."""
    from trimaran.engine import creation
    from trimaran.engine.options import Options

    chain = creation.obtain(core, name, Options({})).chain_ids
    return core.snapshots.layer_paths(chain[-1]) if chain else []


def release(core: Core, id: str, text: str, *, anonymous: bool) -> None:
    """The container is gone; with ``anonymous``, so are the volumes that were made for it alone."""
    if any(request.kind == "volume" for request in load(text)):
        manager(core).release(id, remove_anonymous=anonymous)
