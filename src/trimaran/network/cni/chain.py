"""The operations of a CNI configuration list: its plugins in their order (section 3 of the specification)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trimaran.errors import NetworkError, TrimaranError
from trimaran.network.cni import plugin
from trimaran.spec.cni import NetworkList, Result, at_least, parse_result

_TRY_AGAIN_LATER = 11
_UNAVAILABLE = (50, 51)


@dataclass(frozen=True)
class Attachment:
    """One container on one network: what each call names. ``netns`` is a path, or "" when it is gone.

    ``capabilities`` are arguments by the names of the conventions (``portMappings``...); each plugin gets
    those it says it can take. ``arguments`` are CNI_ARGS.
    """

    container_id: str
    interface: str
    netns: str = ""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        """The environment that tells a plugin."""
        return {
            "CNI_CONTAINERID": self.container_id,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": self.interface,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in self.arguments.items()),
        }


class Chain:
    """A configuration list whose plugins are in ``directories``."""

    def __init__(
        self, config: NetworkList, directories: Sequence[str], *, seconds: float = plugin.SECONDS
    ) -> None:
        self.config = config
        self._directories = directories
        self._seconds = seconds

    def add(self, attachment: Attachment) -> tuple[Result, Any]:
        """Put the container on the network: the result, and its raw form for the calls to come.

        If one plugin fails, all are told to undo. Raises NetworkError, NotFound, TimedOut, SpecError.
        """
        previous: Any = None
        try:
            for config in self.config.plugins:
                answer = self._run("ADD", config, attachment, previous)
                # A plugin that has nothing to add passes on what it was given, or says nothing.
                previous = answer if answer is not None else previous
            return parse_result(previous if previous is not None else {}), previous
        except BaseException as error:
            try:
                self.delete(attachment, previous)
            except TrimaranError as second:
                error.add_note(f"undoing it failed too: {second}")
            raise

    def delete(self, attachment: Attachment, previous: Any = None) -> None:
        """Take the container off the network, last plugin first; all are told, the first error counts.

        Idempotent, as the specification demands of plugins.
        """
        first: TrimaranError | None = None
        given = previous if at_least(self.config.version, "0.4.0") else None
        for config in reversed(self.config.plugins):
            try:
                self._run("DEL", config, attachment, given)
            except TrimaranError as error:
                first = first or error
        if first:
            raise first

    def check(self, attachment: Attachment, previous: Any) -> None:
        """Ask whether all is as it was made. Raises NetworkError if not, or if the version cannot say."""
        if not at_least(self.config.version, "0.4.0"):
            raise NetworkError(
                f"network {self.config.name} cannot be checked",
                why=f"version {self.config.version} has no CHECK",
            )
        if self.config.disable_check:
            return
        for config in self.config.plugins:
            self._run("CHECK", config, attachment, previous)

    def status(self) -> None:
        """Ask whether the network can take containers. Raises NetworkError if not; 1.1.0 and later know."""
        if at_least(self.config.version, "1.1.0"):
            for config in self.config.plugins:
                self._run("STATUS", config, None, None)

    def collect(self, valid: Sequence[tuple[str, str]]) -> None:
        """Have plugins free what belongs to none of the ``valid`` (container id, interface)."""
        if self.config.disable_gc or not at_least(self.config.version, "1.1.0"):
            return
        listed = [{"containerID": container_id, "ifname": interface} for container_id, interface in valid]
        for config in self.config.plugins:
            self._run("GC", {**config, "cni.dev/valid-attachments": listed}, None, None)

    def versions(self) -> dict[str, list[str]]:
        """What each plugin says it speaks, by its type."""
        found = {}
        for config in self.config.plugins:
            asked = {"cniVersion": self.config.version}
            answer = plugin.run(
                "VERSION", config["type"], asked, {}, self._directories, seconds=self._seconds
            )
            found[config["type"]] = list((answer or {}).get("supportedVersions", []))
        return found

    def takes(self, capability: str) -> bool:
        """Whether a plugin of the list says that it can take such an argument."""
        return any(config.get("capabilities", {}).get(capability) for config in self.config.plugins)

    def _run(
        self, command: str, config: Mapping[str, Any], attachment: Attachment | None, previous: Any
    ) -> Any:
        full = {**config, "name": self.config.name, "cniVersion": self.config.version}
        wanted = full.pop("capabilities", {})
        if attachment:
            runtime = {k: v for k, v in attachment.capabilities.items() if wanted.get(k)}
            if runtime:
                full["runtimeConfig"] = runtime
        if previous is not None:
            full["prevResult"] = previous
        variables = attachment.variables() if attachment else {}
        try:
            return plugin.run(
                command, config["type"], full, variables, self._directories, seconds=self._seconds
            )
        except plugin.Failed as error:
            if error.code == _TRY_AGAIN_LATER:
                error.hint = "the plugin asks to try again later"
            elif error.code in _UNAVAILABLE:
                error.hint = "the network takes no containers now"
            raise
