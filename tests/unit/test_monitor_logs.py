"""The log: both formats keep every byte, turning over loses nothing under a reader, and reading back."""

import os
import random
import sys
import threading

import pytest

from trimaran.errors import PlanError
from trimaran.isolation import Stdio
from trimaran.monitor import launch, read_exit
from trimaran.monitor.logs import LogReader

PEER = "import os\nos.write(3, b'ready 1')\nos.read(3, 99)\nos.close(3)\n"


def run(tmp_path, program: str, start: bool = True, **stdio: object):
    state = tmp_path / "state"
    state.mkdir()
    arguments = [("arg", a) for a in (sys.executable, "-I", "-S", "-c", PEER + program)]
    return launch(
        id="log", mode="command", state=str(state), stdio=Stdio(**stdio), start=start, extra=arguments
    )


def finish(launched) -> int:
    code = launched.wait_exited().code
    launched.close()
    launched.reap(block=True)
    return code


def write_log(path, lines: list[str]) -> LogReader:
    path.write_text("".join(lines))
    return LogReader(f"cri:{path}")


def content(reader: LogReader, stream: str = "stdout", **options: object) -> bytes:
    return b"".join(record.data for record in reader.records(**options) if record.stream == stream)


@pytest.mark.parametrize("kind", ["cri", "json"])
@pytest.mark.parametrize("seed", range(3))
def test_binary_output_is_intact(tmp_path, kind, seed):
    maker = random.Random(seed)
    text = "".join(map(chr, maker.choices([10, 34, 92, 127, 200, 0x20AC, 0x1F600], k=30000)))
    data = text.encode() + maker.randbytes(100_000) + b"\xf0\x9f"
    source = tmp_path / "source"
    source.write_bytes(data)
    program = f"data = open({str(source)!r}, 'rb').read()\nat = 0\nfor n in range(1, 2000):\n"
    program += "    os.write(1, data[at:at + n]); at += n\n    if at > len(data): break\n"
    target = f"{kind}:{tmp_path}/log"
    assert finish(run(tmp_path, program, log=target)) == 0
    assert content(LogReader(target)) == data


@pytest.mark.parametrize("kind", ["cri", "json"])
def test_a_follower_misses_nothing_while_files_turn_over(tmp_path, kind):
    target = f"{kind}:{tmp_path}/log"
    program = "import sys\nfor n in range(90000): sys.stdout.write(f'line {n}\\n')\n"
    launched = run(tmp_path, program, log=target, log_size=500_000, log_files=2)
    state = str(tmp_path / "state")
    while not os.path.exists(tmp_path / "log"):
        pass
    got: list[bytes] = []

    def follow() -> None:
        for record in LogReader(target).records(alive=lambda: read_exit(state) is None):
            got.append(record.data)

    reader = threading.Thread(target=follow)
    reader.start()
    assert finish(launched) == 0
    reader.join(60)
    numbers = [int(line.split()[1]) for line in b"".join(got).splitlines()]
    assert numbers[-1] == 89999
    assert numbers == list(range(numbers[0], 90000))


def test_files_stay_within_size_and_number_without_readers(tmp_path):
    program = "os.write(1, b'x' * 99 + b'\\n')\n" * 200
    assert finish(run(tmp_path, program, log=f"cri:{tmp_path}/log", log_size=1000, log_files=3)) == 0
    files = sorted(name for name in os.listdir(tmp_path) if name.startswith("log"))
    assert files == ["log", "log.1", "log.2"]
    assert all(os.stat(tmp_path / name).st_size <= 1000 for name in files)


def test_a_link_is_not_written_to(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    os.symlink(victim, tmp_path / "log")
    launched = run(tmp_path, "print('x')", log=f"cri:{tmp_path}/log")
    with pytest.raises(PlanError, match="log"):
        launched.wait_created()
    launched.reap(block=True)
    assert victim.read_text() == "untouched"


def test_a_second_name_of_a_file_is_not_written_to(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    os.link(victim, tmp_path / "log")
    launched = run(tmp_path, "print('x')", log=f"json:{tmp_path}/log")
    with pytest.raises(PlanError, match="log"):
        launched.wait_created()
    launched.reap(block=True)
    assert victim.read_text() == "untouched"


def test_a_full_disk_neither_tears_a_record_nor_stops_the_process(tmp_path):
    import resource

    program = "os.write(1, b'y' * 99 + b'\\n')\n" * 100
    launched = run(tmp_path, program, start=False, log=f"cri:{tmp_path}/log")
    launched.wait_created()
    resource.prlimit(launched.pid, resource.RLIMIT_FSIZE, (5000, 5000))
    launched.start()
    assert finish(launched) == 0
    lines = (tmp_path / "log").read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert 20 < len(lines) < 40
    whole = [line for line in lines if line.endswith(b" stdout F " + b"y" * 99)]
    said = [line for line in lines if b" stderr F trimaran: " in line and b"could not be written" in line]
    assert len(whole) + len(said) == len(lines)


RECORDS = [f"2026-01-01T00:00:{n // 2:02d}.000000000Z stdout {'PF'[n % 2]} {n}\n" for n in range(20)]


def test_since_and_until(tmp_path):
    reader = write_log(tmp_path / "log", RECORDS)
    since, until = "2026-01-01T00:00:03.000000000Z", "2026-01-01T00:00:04.000000000Z"
    assert content(reader, since=since, until=until) == b"67\n89\n"


@pytest.mark.parametrize("tail", [0, 1, 2, 9, 10, 11, 100])
def test_tail_counts_whole_lines(tmp_path, tail):
    reader = write_log(tmp_path / "log", RECORDS)
    lines = [b"%d%d\n" % (n, n + 1) for n in range(0, 20, 2)]
    assert content(reader, tail=tail) == b"".join(lines[max(0, 10 - tail) :])


@pytest.mark.parametrize("tail", [1, 1500, 1999, 2000])
def test_tail_reaches_into_older_files_and_across_blocks(tmp_path, tail):
    lines = [f"2026-01-01T00:00:00.000000000Z stdout F {n} {'z' * 90}\n" for n in range(2000)]
    (tmp_path / "log.1").write_text("".join(lines[:1000]))
    reader = write_log(tmp_path / "log", lines[1000:])
    got = content(reader, tail=tail).splitlines()
    assert [int(line.split()[0]) for line in got] == list(range(2000 - tail, 2000))


def test_what_no_monitor_wrote_is_passed_over(tmp_path):
    reader = write_log(tmp_path / "log", ["nonsense\n", RECORDS[1], "cut off"])
    assert content(reader) == b"1\n"
