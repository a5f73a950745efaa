"""Forgetting tracked connections over netlink: linux/netfilter/nfnetlink_conntrack.h.

A flow keeps the address translation that it got with its first packet. So when a published UDP port
moves to another container, flows that were tracked before must be forgotten, or they go on to the old one.
"""

from __future__ import annotations

import errno

from trimaran.errors import KernelError
from trimaran.linux.netlink import NLM_F_DUMP, Netlink, Request, attribute, attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NFNL_SUBSYS_CTNETLINK = 1
_IPCTNL_MSG_CT_GET, _IPCTNL_MSG_CT_DELETE = 1, 2
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_ID = 1, 2, 12
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
_CTA_IP_V4_SRC, _CTA_IP_V4_DST, _CTA_IP_V6_SRC, _CTA_IP_V6_DST = 1, 2, 3, 4
_CTA_PROTO_NUM, _CTA_PROTO_DST_PORT = 1, 3
_NLA_F_NESTED = 0x8000


class Flow:
    """One tracked flow: its protocol number, the port that it was sent to, and who answers it."""

    __slots__ = ("answered_by", "family", "id", "port", "protocol", "tuple")

    def __init__(self, payload: bytes) -> None:
        self.family = payload[0]
        found = attributes(payload[4:])
        self.tuple = found[_CTA_TUPLE_ORIG]
        self.id = found[_CTA_ID]
        protocol = attributes(attributes(self.tuple)[_CTA_TUPLE_PROTO])
        self.protocol = protocol[_CTA_PROTO_NUM][0]
        self.port = int.from_bytes(protocol.get(_CTA_PROTO_DST_PORT, b""), "big")
        addresses = attributes(attributes(found[_CTA_TUPLE_REPLY])[_CTA_TUPLE_IP])
        self.answered_by = addresses.get(_CTA_IP_V4_SRC) or addresses.get(_CTA_IP_V6_SRC, b"")


def forget_flows(netlink: Netlink, chosen: Callable[[Flow], bool]) -> int:
    """Forget the tracked flows that ``chosen`` picks; how many that were."""
    payload = bytes(4)
    get = Request(_NFNL_SUBSYS_CTNETLINK << 8 | _IPCTNL_MSG_CT_GET, NLM_F_DUMP, payload, "list tracked flows")
    flows = [flow for _, data in netlink.ask(get) if chosen(flow := Flow(data))]
    for flow in flows:
        payload = bytes((flow.family, 0, 0, 0))
        payload += attribute(_CTA_TUPLE_ORIG | _NLA_F_NESTED, flow.tuple) + attribute(_CTA_ID, flow.id)
        message = _NFNL_SUBSYS_CTNETLINK << 8 | _IPCTNL_MSG_CT_DELETE
        try:
            netlink.send(Request(message, 0, payload, "forget a tracked flow"))
        except KernelError as error:
            # It may have ended by itself meanwhile.
            if error.errno != errno.ENOENT:
                raise
    return len(flows)
