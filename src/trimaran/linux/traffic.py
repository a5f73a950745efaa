"""Requests that steer packets between links: tc(8), tc-mirred(8), include/uapi/linux/pkt_cls.h."""

from __future__ import annotations

import struct

from trimaran.linux.netlink import NLM_F_CREATE, NLM_F_EXCL, Request, attribute, nested, string

_RTM_NEWQDISC, _RTM_NEWTFILTER = 36, 44
_TC_H_INGRESS, _INGRESS_HANDLE = 0xFFFFFFF1, 0xFFFF0000
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_U32_SEL, _TCA_U32_ACT = 5, 7
_TCA_ACT_KIND, _TCA_ACT_OPTIONS, _TCA_MIRRED_PARMS = 1, 2, 2
_TC_U32_TERMINAL, _TC_ACT_STOLEN, _TCA_EGRESS_REDIR = 1, 4, 1
_PRIORITY = 1 << 16
_ETH_P_ALL_SWAPPED = 0x0300

_TCMSG = struct.Struct("=BxxxiIII")
_U32_SEL = struct.Struct("=BBBxHHhhI")
_U32_KEY = struct.Struct("=IIii")
_MIRRED = struct.Struct("=IIiiiiI")


def ingress(index: int) -> Request:
    """Give a link the place where filters on its incoming packets hang."""
    payload = _TCMSG.pack(0, index, _INGRESS_HANDLE, _TC_H_INGRESS, 0) + string(_TCA_KIND, "ingress")
    return Request(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, payload, f"add ingress to link {index}")


def redirect(source: int, target: int) -> Request:
    """Send all that comes in by link SOURCE out by link TARGET; the host's own stack sees none of it."""
    everything = _U32_SEL.pack(_TC_U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0) + _U32_KEY.pack(0, 0, 0, 0)
    mirred = _MIRRED.pack(0, 0, _TC_ACT_STOLEN, 0, 0, _TCA_EGRESS_REDIR, target)
    action = nested(
        1,
        string(_TCA_ACT_KIND, "mirred"),
        nested(_TCA_ACT_OPTIONS, attribute(_TCA_MIRRED_PARMS, mirred)),
    )
    options = nested(_TCA_OPTIONS, attribute(_TCA_U32_SEL, everything), nested(_TCA_U32_ACT, action))
    header = _TCMSG.pack(0, source, 0, _INGRESS_HANDLE, _PRIORITY | _ETH_P_ALL_SWAPPED)
    what = f"redirect link {source} to {target}"
    payload = header + string(_TCA_KIND, "u32") + options
    return Request(_RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, payload, what)
