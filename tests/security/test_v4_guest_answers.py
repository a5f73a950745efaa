"""V4: what a guest's agent says is bounded and checked before anything is made of it."""

import pytest

from trimaran.errors import GuestError, PlanError
from trimaran.vm.agent import CallFailed
from trimaran.vm.keeper.containers import plan_error
from trimaran.vm.protocol import HEADER, MAX_FRAME, Decoder, Kind, Op, decimal, reply_parts, u32
from trimaran.vm.stats import parse


def test_a_frame_that_announces_too_much_is_refused_before_it_is_kept():
    with pytest.raises(GuestError):
        list(Decoder().feed(HEADER.pack(MAX_FRAME + 1, Kind.DATA, 0, 1)))


def test_a_frame_that_never_ends_is_kept_up_to_its_announced_size_only():
    decoder = Decoder()
    assert list(decoder.feed(HEADER.pack(MAX_FRAME, Kind.DATA, 0, 1))) == []
    received = []
    for _ in range(MAX_FRAME // 65536 + 1):
        try:
            received += decoder.feed(bytes(65536))
        except GuestError:
            break
    assert [len(payload) for _, _, payload in received] == [MAX_FRAME]


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0\0\0", b"\0" * 5])
def test_numbers_of_the_wrong_size_are_refused(payload):
    with pytest.raises(GuestError):
        u32(payload)
    if len(payload) < 4:
        with pytest.raises(GuestError):
            reply_parts(payload)


@pytest.mark.parametrize(
    "detail",
    [
        b"",
        b"garbage",
        b"x y z",
        b"1 step notanumber",
        b"\xff\xfe",
        b"1 2",
        b"9" * 100_000,
        b"9" * 9000 + b" a 1",
        b"1 a " + b"9" * 9000,
    ],
)
def test_a_failure_that_makes_no_sense_stays_a_failed_call(detail):
    error = CallFailed(Op.PROCESS, 22, (), detail)
    assert plan_error(error) is error


@pytest.mark.parametrize("text", [b"", b"-1", b"1 2", b"x", b"9" * 5000, "٣", b"\xff"])
def test_a_number_in_words_is_checked(text):
    with pytest.raises(GuestError):
        decimal(text)
    assert decimal(b" 42\n") == 42


def test_a_failure_of_a_plan_is_read():
    found = plan_error(CallFailed(Op.PROCESS, 2, (), b"3 mount 2 /a b"))
    assert isinstance(found, PlanError)
    assert (found.index, found.step, found.errno, found.path) == (3, "mount", 2, "/a b")


@pytest.mark.parametrize(
    "text",
    ["", "-5", "9" * 5000, "max", "x", "٣", "usage_usec", "a b c\n" * 10, "\0", "1e9", "usage_usec -1"],
)
def test_statistics_are_numbers_whatever_the_guest_says(text):
    files = dict.fromkeys(("cpu.stat", "memory.current", "memory.events", "pids.current", "io.stat"), text)
    stats = parse(files)
    for value in (stats.cpu_ns, stats.memory, stats.oom_kills, stats.pids, stats.read_bytes):
        assert 0 <= value <= (1 << 63) * 1000
