"""Writes docs/reference/sandbox-calls.md from the code: what is native, what is answered, what is lacking.

python scripts/sandbox_docs.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from trimaran.sandbox.abi import NUMBERS
from trimaran.sandbox.kernel.table import build_table
from trimaran.sandbox.policy import NATIVE, STUB_CALLS

PAGE = Path(__file__).resolve().parent.parent / "docs/reference/sandbox-calls.md"
_OBSOLETE = (
    "_sysctl afs_syscall create_module epoll_ctl_old epoll_wait_old get_kernel_syms getpmsg get_thread_area "
    "nfsservctl putpmsg query_module security set_thread_area tuxcall uselib vserver ustat sysfs "
    "lookup_dcookie"
)
OBSOLETE = frozenset(_OBSOLETE.split())


def condition(name: str) -> str:
    """When a native call is native, in words."""
    rule = NATIVE[name]
    if rule.argument is None:
        return "always"
    wanted = f"has a bit of {rule.has:#x}" if rule.has else f"is {', '.join(map(hex, rule.values))}"
    return f"argument {rule.argument} {wanted}"


def refused(handler: object) -> bool:
    """Whether a handler only ever refuses."""
    return getattr(handler, "__name__", "") == "_refuse"


def page() -> str:
    table = build_table()
    handled = {name for name, number in NUMBERS.items() if number < 512 and table[number] is not None}
    answered = sorted(n for n in handled if not refused(table[NUMBERS[n]]))
    forbidden = sorted(n for n in handled if refused(table[NUMBERS[n]]))
    lacking = sorted(set(NUMBERS) - handled - set(NATIVE) - OBSOLETE)
    lines = [
        "# System calls in the sandbox",
        "",
        "Made by `scripts/sandbox_docs.py`; do not edit.",
        "",
        f"Of {len(NUMBERS) - len(OBSOLETE & set(NUMBERS))} calls of Linux (obsolete ones left out),",
        f"the host's kernel executes {len(NATIVE)} itself, the supervisor answers {len(answered)},",
        f"refuses {len(forbidden)} (EPERM), and lacks {len(lacking)}",
        "(ENOSYS, logged once with name and arguments, counted by `stats`).",
        "",
        "## Executed by the host's kernel",
        "",
        "| call | when | why it may be |",
        "|---|---|---|",
        *(f"| {name} | {condition(name)} | {NATIVE[name].reason} |" for name in sorted(NATIVE)),
        "",
        "The stub, which loads programs, may also make these; their address tells that they are its own:",
        "",
        *(f"- `{name}`: {reason}" for name, reason in STUB_CALLS.items()),
        "",
        "## Answered by the supervisor",
        "",
        ", ".join(f"`{name}`" for name in answered) + ".",
        "",
        "## Refused",
        "",
        ", ".join(f"`{name}`" for name in forbidden) + ".",
        "",
        "## Lacking",
        "",
        ", ".join(f"`{name}`" for name in lacking) + ".",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    text = page()
    if "--check" in sys.argv:
        return 0 if PAGE.exists() and PAGE.read_text() == text else 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
