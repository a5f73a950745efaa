"""Elements of nftables sets and maps over netlink: linux/netfilter/nf_tables.h, nfnetlink.h.

Tables, chains and rules are written as text and loaded by nft(8): that happens once for a network. What
happens for each container is adding and removing elements, and that is done here without a process.
"""

from __future__ import annotations

import errno

from trimaran.errors import KernelError
from trimaran.linux.netlink import (
    NETLINK_NETFILTER,
    NLM_F_CREATE,
    Netlink,
    Request,
    attribute,
    attributes,
    nested,
    string,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_NFNL_SUBSYS_NFTABLES = 10
_NFNL_MSG_BATCH_BEGIN, _NFNL_MSG_BATCH_END = 16, 17
_NFT_MSG_GETCHAIN, _NFT_MSG_NEWSETELEM, _NFT_MSG_DELSETELEM = 4, 12, 14
_NFPROTO_INET = 1
_NFTA_CHAIN_TABLE, _NFTA_CHAIN_NAME, _NFTA_CHAIN_USE = 1, 3, 6
_NFTA_SET_ELEM_LIST_TABLE, _NFTA_SET_ELEM_LIST_SET, _NFTA_SET_ELEM_LIST_ELEMENTS = 1, 2, 3
_NFTA_LIST_ELEM = 1
_NFTA_SET_ELEM_KEY, _NFTA_SET_ELEM_DATA = 1, 2
_NFTA_DATA_VALUE = 1
NFNLGRP_NFTABLES = 7
DELETIONS = frozenset(_NFNL_SUBSYS_NFTABLES << 8 | message for message in (2, 5, 8))
"""The announcements that a table, a chain or a rule is gone."""

# Elements in one message: an element takes up to 84 bytes, and a nested attribute holds 65,531.
_CHUNK = 600


class Element:
    """One element of the set or map ``set``: its key and, in a map, its data, in the kernel's form."""

    __slots__ = ("data", "key", "set")

    def __init__(self, set: str, key: bytes, data: bytes = b"") -> None:
        self.set = set
        self.key = key
        self.data = data

    def pack(self, *, with_data: bool) -> bytes:
        key = nested(_NFTA_SET_ELEM_KEY, attribute(_NFTA_DATA_VALUE, self.key))
        if self.data and with_data:
            key += nested(_NFTA_SET_ELEM_DATA, attribute(_NFTA_DATA_VALUE, self.data))
        return nested(_NFTA_LIST_ELEM, key)


def field(value: bytes) -> bytes:
    """One field of a concatenated key: in network order, padded to four bytes."""
    return value + bytes(-len(value) % 4)


def _header(family: int = 0, resource: int = 0) -> bytes:
    return bytes((family, 0)) + resource.to_bytes(2, "big")


_BEGIN = Request(_NFNL_MSG_BATCH_BEGIN, 0, _header(resource=_NFNL_SUBSYS_NFTABLES), "begin a batch of rules")
_END = Request(_NFNL_MSG_BATCH_END, 0, _header(resource=_NFNL_SUBSYS_NFTABLES), "end a batch of rules")


def _requests(table: str, elements: Sequence[Element], message: int, flags: int) -> list[Request]:
    by_set: dict[str, list[Element]] = {}
    for element in elements:
        by_set.setdefault(element.set, []).append(element)
    verb = "add" if message == _NFT_MSG_NEWSETELEM else "remove"
    requests = []
    for name, members in by_set.items():
        for i in range(0, len(members), _CHUNK):
            packed = [e.pack(with_data=message == _NFT_MSG_NEWSETELEM) for e in members[i : i + _CHUNK]]
            payload = _header(_NFPROTO_INET) + string(_NFTA_SET_ELEM_LIST_TABLE, table)
            payload += string(_NFTA_SET_ELEM_LIST_SET, name)
            payload += nested(_NFTA_SET_ELEM_LIST_ELEMENTS, *packed)
            what = f"{verb} {len(packed)} elements of {name} in table inet {table}"
            requests.append(Request(_NFNL_SUBSYS_NFTABLES << 8 | message, flags, payload, what))
    return requests


def add_elements(netlink: Netlink, table: str, elements: Sequence[Element]) -> None:
    """Add elements to sets of ``table`` (family inet), all or none. KernelError (EEXIST, ENOENT...)."""
    if elements:
        requests = _requests(table, elements, _NFT_MSG_NEWSETELEM, NLM_F_CREATE)
        netlink.transaction(_BEGIN, requests, _END)


def delete_elements(netlink: Netlink, table: str, elements: Sequence[Element]) -> None:
    """Remove elements; one that is not there, or whose table is not, counts as removed."""
    if not elements:
        return
    try:
        netlink.transaction(_BEGIN, _requests(table, elements, _NFT_MSG_DELSETELEM, 0), _END)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        # One missing element undoes the whole transaction: take the halves apart.
        if len(elements) > 1:
            middle = len(elements) // 2
            delete_elements(netlink, table, elements[:middle])
            delete_elements(netlink, table, elements[middle:])


def has_rules(netlink: Netlink, table: str, chain: str) -> bool:
    """Whether the chain of the table (family inet) exists and holds rules."""
    payload = _header(_NFPROTO_INET) + string(_NFTA_CHAIN_TABLE, table) + string(_NFTA_CHAIN_NAME, chain)
    request = Request(_NFNL_SUBSYS_NFTABLES << 8 | _NFT_MSG_GETCHAIN, 0, payload, f"look up chain {chain}")
    try:
        answer = netlink.ask(request)[0][1]
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return any(attributes(answer[4:]).get(_NFTA_CHAIN_USE, b""))


def open_nftables(netns: int | None = None) -> Netlink:
    """A socket to netfilter, in this network namespace or in the one behind ``netns``."""
    return Netlink(NETLINK_NETFILTER, netns)
