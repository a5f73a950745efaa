"""Values behave as the frozen dataclasses that the type checker takes them for."""

from __future__ import annotations

import pytest

from trimaran.network.model import EndpointRequest, PortRequest
from trimaran.network.value import replace


def test_fields_defaults_equality_and_text() -> None:
    port = PortRequest(80, protocol="udp")
    assert (port.container_port, port.host_port, port.protocol) == (80, 0, "udp")
    assert port == PortRequest(80, 0, "udp")
    assert hash(port) == hash(PortRequest(80, 0, "udp"))
    assert port != PortRequest(81, 0, "udp")
    assert port != EndpointRequest()
    assert repr(port) == "PortRequest(container_port=80, host_port=0, protocol='udp', host_ip='', count=1)"


def test_a_copy_with_changes() -> None:
    port = PortRequest(80)
    assert replace(port, host_port=8080) == PortRequest(80, 8080)
    assert port.host_port == 0


@pytest.mark.parametrize(
    ("given", "named", "words"),
    [
        ((), {}, "container_port missing or unknown"),
        ((80,), {"colour": 1}, "colour missing or unknown"),
        ((80,), {"container_port": 1}, "container_port given twice"),
        ((1, 2, "tcp", "", 5, 6), {}, "has 5 fields, not 6"),
    ],
)
def test_wrong_fields(given: tuple[object, ...], named: dict[str, object], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        PortRequest(*given, **named)  # type: ignore[arg-type]


def test_it_does_not_change() -> None:
    with pytest.raises(AttributeError, match="cannot be changed"):
        PortRequest(80).count = 2  # type: ignore[misc]
