"""What a task becomes by execve(2): ELF images, scripts and the initial stack (elf(5), execve(2))."""

from __future__ import annotations

import errno as E
import os
import struct

from trimaran.sandbox.abi import ELF_MACHINE, PLATFORM
from trimaran.sandbox.kernel.outcome import Fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.task import Credentials
    from trimaran.sandbox.kernel.vfs.inode import Dentry

PAGE = 4096
PT_LOAD, PT_INTERP, PT_GNU_STACK = 1, 3, 0x6474E551
PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS = 2, 0x10, 0x20
MAX_MAPPINGS = 24
MAX_SEGMENTS = 64
USER_END = 1 << 47
ET_EXEC, ET_DYN = 2, 3

PIE_BASE = 0x555555554000
INTERPRETER_BASE = 0x7E0000000000
"""Where images without an address of their own go, before the random part."""

AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY = 3, 4, 5, 6, 7, 8, 9
AT_UID, AT_EUID, AT_GID, AT_EGID, AT_PLATFORM, AT_CLKTCK, AT_SECURE = 11, 12, 13, 14, 15, 17, 23
AT_RANDOM, AT_EXECFN, AT_SYSINFO_EHDR = 25, 31, 33
AT_HWCAP, AT_HWCAP2, AT_RSEQ_SIZE, AT_RSEQ_ALIGN, AT_MINSIGSTKSZ = 16, 26, 27, 28, 51
FROM_HOST = (AT_HWCAP, AT_HWCAP2, AT_CLKTCK, AT_MINSIGSTKSZ, AT_RSEQ_SIZE, AT_RSEQ_ALIGN)


class Mapping:
    """One mmap of an image; ``which`` is 0 for the program, 1 for its interpreter, -1 for no file."""

    __slots__ = ("address", "length", "offset", "protection", "which", "zero_from", "zero_to")

    def __init__(self, which: int, address: int, length: int, offset: int, protection: int) -> None:
        self.which = which
        self.address = address
        self.length = length
        self.offset = offset
        self.protection = protection
        self.zero_from = self.zero_to = 0


class Elf:
    """A parsed ELF header. Raises Fail (ENOEXEC, ELIBBAD) for what Linux refuses too."""

    def __init__(self, fd: int) -> None:
        head = os.pread(fd, 64, 0)
        if len(head) < 64 or head[:4] != b"\x7fELF" or head[4:6] != b"\x02\x01":
            raise Fail(E.ENOEXEC)
        kind, machine, _v, self.entry, self.phoff, _s, _f, _eh, phentsize, self.phnum = struct.unpack_from(
            "<HHIQQQIHHH", head, 16
        )
        if kind not in (ET_EXEC, ET_DYN) or machine != ELF_MACHINE or phentsize != 56:
            raise Fail(E.ENOEXEC)
        if not 0 < self.phnum <= MAX_SEGMENTS or self.phoff > 1 << 40:
            raise Fail(E.ENOEXEC)
        self.dynamic = kind == ET_DYN
        table = os.pread(fd, 56 * self.phnum, self.phoff)
        if len(table) != 56 * self.phnum:
            raise Fail(E.ENOEXEC)
        self.segments = [struct.unpack_from("<IIQQQQQQ", table, 56 * i) for i in range(self.phnum)]
        self.loads = [s for s in self.segments if s[0] == PT_LOAD]
        if not self.loads:
            raise Fail(E.ENOEXEC)
        self.low = min(s[3] for s in self.loads) & -PAGE
        self.high = max(s[3] + s[6] for s in self.loads)
        if self.high > USER_END or any(s[5] > s[6] or s[3] + s[6] < s[3] for s in self.loads):
            raise Fail(E.ENOEXEC)
        self.interpreter = self._interpreter(fd)

    def _interpreter(self, fd: int) -> bytes:
        for kind, _flags, offset, _va, _pa, size, _mem, _align in self.segments:
            if kind == PT_INTERP:
                if not 2 <= size <= 4096:
                    raise Fail(E.ENOEXEC)
                name = os.pread(fd, size, offset)
                if len(name) != size or name[-1:] != b"\0":
                    raise Fail(E.ENOEXEC)
                return name.split(b"\0")[0]
        return b""

    def headers(self, bias: int) -> int:
        """Where the program headers are in memory."""
        for _kind, _flags, offset, address, _pa, filesz, _mem, _align in self.loads:
            if offset <= self.phoff < offset + filesz:
                return int(address + bias + self.phoff - offset)
        return 0

    def mappings(self, which: int, bias: int) -> list[Mapping]:
        """The mappings that load this image at BIAS."""
        result = []
        for _kind, flags, offset, address, _pa, filesz, memsz, _align in self.loads:
            protection = (
                (PROT_READ if flags & 4 else 0)
                | (PROT_WRITE if flags & 2 else 0)
                | (PROT_EXEC if flags & 1 else 0)
            )
            start = (address + bias) & -PAGE
            lead = (address + bias) - start
            if (offset - lead) % PAGE:
                raise Fail(E.ENOEXEC)
            file_end, end = address + bias + filesz, address + bias + memsz
            if filesz:
                mapping = Mapping(which, start, -(-(lead + filesz) // PAGE) * PAGE, offset - lead, protection)
                if memsz > filesz and protection & PROT_WRITE:
                    mapping.zero_from = file_end
                    # To the end of the page, as Linux does: the dynamic loader counts on it.
                    mapping.zero_to = -(-file_end // PAGE) * PAGE
                result.append(mapping)
            bare = -(-file_end // PAGE) * PAGE if filesz else start
            if end > bare:
                result.append(Mapping(-1, bare, -(-(end - bare) // PAGE) * PAGE, 0, protection))
        return result


class Image:
    """A program ready to be loaded: files, mappings, entry and what goes on the stack."""

    __slots__ = (
        "arguments",
        "base",
        "cred",
        "entry",
        "environment",
        "executable",
        "fds",
        "headers",
        "mappings",
        "name",
        "path",
        "phnum",
        "program_entry",
        "secure",
    )

    def __init__(
        self,
        executable: Dentry,
        path: bytes,
        arguments: list[bytes],
        environment: list[bytes],
        cred: Credentials,
    ) -> None:
        self.executable = executable
        self.path = path
        self.arguments = arguments
        self.environment = environment
        self.cred = cred
        self.secure = False
        self.fds: list[int] = []
        self.mappings: list[Mapping] = []
        self.name = path.rsplit(b"/", 1)[-1][:15]
        self.base = self.entry = self.program_entry = self.headers = self.phnum = 0

    def load(self, program: Elf, interpreter: Elf | None, noise: int) -> None:
        """Place the images; NOISE moves those that may move (address space layout randomisation)."""
        bias = 0
        if program.dynamic:
            # A program without an interpreter may be one itself: keep it away from the heap.
            base = PIE_BASE if interpreter else INTERPRETER_BASE
            bias = base + (noise & 0xFFFFFFF) * PAGE - program.low
        self.mappings = program.mappings(0, bias)
        self.program_entry = self.entry = program.entry + bias
        self.headers = program.headers(bias)
        self.phnum = program.phnum
        if interpreter is not None:
            self.base = INTERPRETER_BASE + (noise >> 28 & 0xFFFFFFF) * PAGE
            self.mappings += interpreter.mappings(1, self.base - interpreter.low)
            self.entry = interpreter.entry + self.base - interpreter.low
        if len(self.mappings) > MAX_MAPPINGS:
            raise Fail(E.ENOEXEC)

    def stack_size(self) -> int:
        """An upper bound of what :meth:`stack` needs."""
        strings = sum(map(len, self.arguments)) + sum(map(len, self.environment)) + len(self.path)
        count = len(self.arguments) + len(self.environment)
        return strings + 9 * count + 1024

    def stack(self, top: int, host: dict[int, int], random: bytes, vdso: bool) -> tuple[int, bytes]:
        """The stack's address and content, ending at TOP. HOST is the auxiliary vector of the stub."""
        blob = bytearray()
        start = top - (self.stack_size() & -16) - 16

        def put(data: bytes) -> int:
            at = start + len(blob)
            blob.extend(data)
            return at

        random_at = put(random)
        platform_at = put(PLATFORM + b"\0")
        path_at = put(self.path + b"\0")
        argument_at = [put(a + b"\0") for a in self.arguments]
        environment_at = [put(e + b"\0") for e in self.environment]
        cred = self.cred
        vector = [
            *((AT_SYSINFO_EHDR, host[AT_SYSINFO_EHDR]) if vdso and AT_SYSINFO_EHDR in host else ()),
            *(number for key in FROM_HOST if key in host for number in (key, host[key])),
            *(AT_PAGESZ, PAGE, AT_PHDR, self.headers, AT_PHENT, 56, AT_PHNUM, self.phnum),
            *(AT_BASE, self.base, AT_FLAGS, 0, AT_ENTRY, self.program_entry),
            *(AT_UID, cred.uid, AT_EUID, cred.euid, AT_GID, cred.gid, AT_EGID, cred.egid),
            *(AT_SECURE, int(self.secure), AT_RANDOM, random_at, AT_EXECFN, path_at),
            *(AT_PLATFORM, platform_at, 0, 0),
        ]
        words = [len(argument_at), *argument_at, 0, *environment_at, 0, *vector]
        pointer = (start - 8 * len(words)) & -16
        table = struct.pack(f"<{len(words)}Q", *words)
        return pointer, table.ljust(start - pointer, b"\0") + bytes(blob)
