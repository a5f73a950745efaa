"""Creating a container: a row, a root file system, a hold on the image. Nothing runs yet."""

from __future__ import annotations

import os

from trimaran.engine import config, events, storage
from trimaran.engine.names import invent
from trimaran.engine.store import check_name
from trimaran.errors import InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimaran.engine.core import Core
    from trimaran.engine.options import Options
    from trimaran.image.model import Image
    from trimaran.isolation import Root

PULL_WHEN = ("missing", "always", "never")


def obtain(core: Core, reference: str, options: Options) -> Image:
    """The image, pulled if it is not here (or as ``pull`` says)."""
    if options.pull not in PULL_WHEN:
        raise InvalidInput(f"pull cannot be '{options.pull}'", hint=f"one of {', '.join(PULL_WHEN)}")
    platform = None
    if options.platform:
        from trimaran.image.platform import Platform

        platform = Platform.parse(options.platform)
    if options.pull != "always":
        try:
            return core.images.get(reference, platform)
        except NotFound:
            if options.pull == "never":
                raise
    return core.pull(reference, platform)


def create(
    core: Core,
    image: Image,
    reference: str,
    command: Sequence[str] | None,
    options: Options,
    *,
    lease: str = "",
    starting: bool = False,
) -> tuple[str, Root]:
    """Add the container, all or nothing; its id and its root.

    With ``starting`` its state is that of a container which the caller is about to start. Raises
    Conflict if the name is taken, InvalidInput for options that make no sense.
    """
    arguments = config.arguments(image.run_config, options.entrypoint, command)
    core.isolations.get(options.isolation)
    if options.restart != "no":
        from trimaran.engine.supervisor import parse_policy

        parse_policy(options.restart)
    id = os.urandom(32).hex()
    name = check_name(options.name) if options.name else invent()
    labels = {**(image.run_config.get("Labels") or {}), **options.labels}
    fields = {
        "image": reference,
        "image_id": image.id,
        "image_digest": image.digest,
        "isolation": options.isolation,
        "state": "starting" if starting else "created",
        "boot": core.boot,
        "lease": lease,
        "options": options.given(),
        "labels": labels,
        "command": arguments,
    }
    chain = image.chain_ids
    requests = storage.requested(options, image)
    with core.database.write() as connection:
        core.containers.add(id, name, {**fields, "mounts": storage.settle(core, id, requests)})
        core.images.hold(image.digest, id)
        root = core.snapshots.prepare(id, chain[-1] if chain else None, quota=options.storage_size)
        if starting:
            core.database.announce("container.start", id)
        events.record(connection, "container", "create", id, {"image": reference, "name": name})
    return id, root
