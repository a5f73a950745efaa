"""What an image is to the rest of Trimaran. Imports nothing heavy: it is on the path of ``trimaran run``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from trimaran.image.platform import Platform


class Layer:
    """One layer: its blob, its uncompressed content (``diff_id``), and its place (``chain_id``)."""

    __slots__ = ("chain_id", "diff_id", "digest", "media_type", "size")

    def __init__(self, digest: str, size: int, media_type: str, diff_id: str, chain_id: str) -> None:
        self.digest = digest
        self.size = size
        self.media_type = media_type
        self.diff_id = diff_id
        self.chain_id = chain_id


class Image:
    """An image for one platform, complete in the store.

    ``reference`` is the name it was found by, empty for a nameless one. ``digest`` is the manifest's,
    ``target`` what the name points at (the index, or the manifest itself), ``id`` the configuration's
    digest: docker's image ID. ``config`` is the OCI image configuration as parsed JSON. ``size`` is in
    bytes, as transferred: manifest, configuration and layers.
    """

    __slots__ = (
        *("config", "created", "digest", "id", "layers"),
        *("media_type", "platform", "reference", "size", "target"),
    )

    def __init__(
        self,
        *,
        reference: str,
        digest: str,
        target: str,
        media_type: str,
        id: str,
        config: Mapping[str, Any],
        layers: tuple[Layer, ...],
        platform: Platform,
        size: int,
        created: int = 0,
    ) -> None:
        self.reference = reference
        self.digest = digest
        self.target = target
        self.media_type = media_type
        self.id = id
        self.config = config
        self.layers = layers
        self.platform = platform
        self.size = size
        self.created = created

    @property
    def diff_ids(self) -> list[str]:
        """The digests of the uncompressed layers, the lowest first."""
        return [layer.diff_id for layer in self.layers]

    @property
    def chain_ids(self) -> list[str]:
        """The keys of the unpacked layers in the snapshotter, the lowest first."""
        return [layer.chain_id for layer in self.layers]

    @property
    def run_config(self) -> Mapping[str, Any]:
        """The ``config`` object of the configuration: Env, Entrypoint, Cmd, User, WorkingDir, ..."""
        found: Mapping[str, Any] = self.config.get("config") or {}
        return found

    def __repr__(self) -> str:
        return f"Image({self.reference or self.digest!r}, {self.platform})"
