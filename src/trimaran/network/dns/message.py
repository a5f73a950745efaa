"""DNS messages, as far as a stub resolver's questions need them. Pure. RFC 1035, RFC 3596."""

from __future__ import annotations

import struct

A, PTR, AAAA, ANY = 1, 12, 28, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5

_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_QR, _OPCODE, _AA, _TC, _RD, _RA = 0x8000, 0x7800, 0x0400, 0x0200, 0x0100, 0x0080
_NAME_AT_12 = b"\xc0\x0c"
UDP_LIMIT = 512


class Malformed(ValueError):
    """No question that can be answered; ``answerable`` if it can be refused by its header at least."""

    def __init__(self, answerable: bool) -> None:
        super().__init__("malformed question")
        self.answerable = answerable


class Query:
    """One question: ``name`` in lower case without the last dot, its type and class."""

    __slots__ = ("flags", "id", "kind", "name", "opcode", "qclass", "question")

    def __init__(self, data: bytes) -> None:
        if len(data) < 12:
            raise Malformed(answerable=False)
        self.id, self.flags, questions, _, _, _ = _HEADER.unpack_from(data)
        if self.flags & _QR:
            raise Malformed(answerable=False)
        self.opcode = (self.flags & _OPCODE) >> 11
        if questions != 1:
            raise Malformed(answerable=True)
        self.name, end = _read_name(data, 12)
        if end + 4 > len(data):
            raise Malformed(answerable=True)
        self.kind, self.qclass = _QUESTION.unpack_from(data, end)
        self.question = data[12 : end + 4]


def _read_name(data: bytes, offset: int) -> tuple[str, int]:
    labels: list[str] = []
    length = 0
    while offset < len(data):
        size = data[offset]
        offset += 1
        if size == 0:
            return ".".join(labels).lower(), offset
        length += size + 1
        # A pointer can only lead back into the header here.
        if size > 63 or length > 254 or offset + size > len(data):
            break
        labels.append(data[offset : offset + size].decode("latin-1"))
        offset += size
    raise Malformed(answerable=True)


def write_name(name: str) -> bytes:
    """A name in the wire's form. ValueError if it cannot be one."""
    parts = [part.encode("latin-1") for part in name.split(".") if part]
    if any(len(part) > 63 for part in parts) or sum(len(part) + 1 for part in parts) > 254:
        raise ValueError(f"{name!r} is too long for a name")
    return b"".join(bytes((len(part),)) + part for part in parts) + b"\0"


def answer(query: Query, records: list[tuple[int, bytes]], *, ttl: int, limit: int) -> bytes:
    """The answer with these records (type, data); cut to ``limit`` bytes with the sign that it was."""
    flags = _QR | _AA | _RA | (query.flags & _RD)
    body = query.question
    count = 0
    for kind, data in records:
        record = _NAME_AT_12 + _RECORD.pack(kind, IN, ttl, len(data)) + data
        if 12 + len(body) + len(record) > limit:
            flags |= _TC
            break
        body += record
        count += 1
    return _HEADER.pack(query.id, flags, 1, count, 0, 0) + body


def refusal(query: Query, code: int) -> bytes:
    """An answer that is only a code."""
    flags = _QR | _RA | (query.flags & (_RD | _OPCODE)) | code
    return _HEADER.pack(query.id, flags, 1, 0, 0, 0) + query.question


def malformed_answer(data: bytes) -> bytes:
    """The answer to what could not be read."""
    return data[:2] + (_QR | _RA | FORMERR).to_bytes(2, "big") + bytes(8)


def with_id(data: bytes, id: int) -> bytes:
    """The message under another number."""
    return id.to_bytes(2, "big") + data[2:]


def answers(data: bytes, id: int, question: bytes) -> bool:
    """Whether the message is an answer to the question, sent under that number.

    Names may come back in another case (RFC 1035, 2.3.3).
    """
    if len(data) < 12 or int.from_bytes(data[:2], "big") != id or not data[2] & 0x80:
        return False
    return data[12 : 12 + len(question)].lower() == question.lower()


def reverse_address(name: str) -> bytes | None:
    """The packed address that a name under in-addr.arpa or ip6.arpa asks for; None if it is none."""
    parts = name.split(".")
    try:
        if parts[-2:] == ["in-addr", "arpa"] and len(parts) == 6:
            return bytes(int(part) for part in reversed(parts[:4]))
        if parts[-2:] == ["ip6", "arpa"] and len(parts) == 34 and all(len(part) == 1 for part in parts[:32]):
            return bytes.fromhex("".join(reversed(parts[:32])))
    except ValueError:
        pass
    return None
