"""The ABI that a sandboxed program sees, per architecture: numbers and layouts, no behaviour."""

from __future__ import annotations

import os

MACHINE = os.uname().machine

if MACHINE == "aarch64":
    from trimaran.sandbox.abi.numbers_aarch64 import RUNS

    AUDIT_ARCH = 0xC00000B7
    ELF_MACHINE = 183
    PLATFORM = b"aarch64"
else:
    from trimaran.sandbox.abi.numbers_x86_64 import RUNS

    AUDIT_ARCH = 0xC000003E
    ELF_MACHINE = 62
    PLATFORM = b"x86_64"

NAMES: dict[int, str] = {
    first + index: name for first, names in RUNS for index, name in enumerate(names.split(" "))
}
NUMBERS: dict[str, int] = {name: number for number, name in NAMES.items()}

HELLO = 0x7401
IMAGE = 0x7402
REPORT = 0x7403
"""What the stub asks (native/sandbox/stub.h): numbers that no kernel has."""
