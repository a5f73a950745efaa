"""Takes the uncompressed kernel (an ELF file) out of a bzImage.

Linux Documentation/arch/x86/boot.rst: the setup header, and ``payload_offset``.
"""

from __future__ import annotations

import struct

from trimaran.errors import InvalidInput, Unsupported

# The largest kernel that is accepted: distribution kernels are 30 to 90 MB.
MAX_KERNEL = 512 << 20
_LZ4_LEGACY_BLOCK = 8 << 20
_MIN_PROTOCOL = 0x0208


def is_bzimage(data: bytes | memoryview) -> bool:
    """Whether DATA starts like a bzImage."""
    return len(data) > 0x264 and bytes(data[0x202:0x206]) == b"HdrS"


def extract_vmlinux(data: bytes, name: str = "kernel") -> bytes:
    """The ELF kernel in the bzImage DATA. Raises :class:`InvalidInput` or :class:`Unsupported`."""
    if not is_bzimage(data):
        raise InvalidInput(f"{name} cannot be used", why="it is neither an ELF file nor a bzImage")
    setup_sectors = data[0x1F1] or 4
    protocol = struct.unpack_from("<H", data, 0x206)[0]
    if protocol < _MIN_PROTOCOL:
        raise Unsupported(f"{name} cannot be used", why=f"boot protocol {protocol:#x} is older than 2.08")
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = data[start : start + length]
    if not length or len(payload) != length:
        raise InvalidInput(f"{name} cannot be used", why="its compressed part is cut short")
    return decompress(payload, name)


def decompress(payload: bytes, name: str) -> bytes:
    """Decompress a kernel by its magic number. The trailing 4 bytes, its size, are ignored."""
    for magic, method in _METHODS:
        if payload.startswith(magic):
            try:
                return method(payload, name)
            except (ValueError, EOFError, OSError, RuntimeError) as error:
                raise InvalidInput(f"{name} cannot be decompressed", why=str(error)) from error
    raise Unsupported(f"{name} cannot be used", why=f"compression {payload[:4].hex()} is not known")


def _gzip(payload: bytes, name: str) -> bytes:
    import zlib

    try:
        return zlib.decompressobj(31).decompress(payload, MAX_KERNEL)
    except zlib.error as error:
        raise ValueError(str(error)) from error


def _xz(payload: bytes, name: str) -> bytes:
    import lzma

    try:
        return lzma.LZMADecompressor().decompress(payload, MAX_KERNEL)
    except lzma.LZMAError as error:
        raise ValueError(str(error)) from error


def _zstd(payload: bytes, name: str) -> bytes:
    import zstandard

    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(payload)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _lz4(payload: bytes, name: str) -> bytes:
    """The legacy frame of the lz4 command: blocks of 8 MB, each preceded by its compressed size."""
    try:
        import lz4.block
    except ImportError as error:
        raise Unsupported(
            f"{name} cannot be decompressed", why="it uses LZ4", hint="pip install 'trimaran[vm]'"
        ) from error
    output = bytearray()
    at = 4
    while at + 4 <= len(payload) and len(output) % _LZ4_LEGACY_BLOCK == 0 and len(output) < MAX_KERNEL:
        size = struct.unpack_from("<I", payload, at)[0]
        # The last four bytes are the size of the whole: no block follows.
        if size == 0 or at + 4 + size > len(payload):
            break
        block = payload[at + 4 : at + 4 + size]
        try:
            output += lz4.block.decompress(block, uncompressed_size=_LZ4_LEGACY_BLOCK)
        except lz4.block.LZ4BlockError as error:
            raise ValueError(str(error)) from error
        at += 4 + size
    return bytes(output)


_METHODS = (
    (b"\x02\x21\x4c\x18", _lz4),
    (b"\xfd7zXZ\0", _xz),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"\x1f\x8b", _gzip),
)
