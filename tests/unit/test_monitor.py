"""The monitor, with small commands as its peers: life, output, input, exit. No root is needed."""

import os
import select
import signal
import sys
import time

import pytest

from trimaran.errors import CommandNotFound, GuestError, KernelError, NotFound, PlanError
from trimaran.isolation import Stdio
from trimaran.monitor import Control, Exit, Launched, launch, monitor_alive, read_exit

PIPES = Stdio()
READY = "import os\nos.write(3, b'ready %d' % os.getpid())\nassert os.read(3, 99) == b'start'\n"


class Monitored:
    """A monitor whose peer is a Python program; leaves nothing behind."""

    def __init__(self, directory: str) -> None:
        self.state = directory
        self.launched: Launched | None = None

    def launch(self, program: str, stdio: Stdio = PIPES, start: bool = True, **more: object) -> Launched:
        arguments = [("arg", sys.executable), *(("arg", a) for a in ("-I", "-S", "-c", program))]
        self.launched = launch(
            id="test", mode="command", state=self.state, stdio=stdio, start=start, extra=arguments, **more
        )
        return self.launched

    def control(self) -> Control:
        return Control(self.state)

    def close(self) -> None:
        if self.launched:
            try:
                with self.control() as control:
                    control.signal(signal.SIGKILL)
            except (NotFound, KernelError):
                pass
            self.launched.close()
            self.launched.reap(block=True)


@pytest.fixture
def monitored(tmp_path):
    it = Monitored(str(tmp_path))
    yield it
    it.close()


def shell(command: str) -> str:
    return READY + f"os.close(3)\nos.execv('/bin/sh', ['sh', '-c', {command!r}])"


def text(path) -> str:
    with open(path, "rb") as file:
        return file.read().decode("utf-8", "surrogateescape")


def test_reports_creation_start_and_exit(monitored):
    launched = monitored.launch(shell("exit 7"), start=False)
    pid = launched.wait_created()
    assert os.path.exists(f"/proc/{pid}")
    assert read_exit(monitored.state) is None
    assert monitor_alive(monitored.state) == launched.pid
    launched.start()
    launched.wait_started()
    assert launched.wait_exited().code == 7
    record = read_exit(monitored.state)
    assert (record.code, record.signal, record.oom) == (7, 0, False)
    assert abs(record.time - time.time_ns()) < 60e9
    assert launched.receive() == []
    assert launched.reap(block=True) == 0
    assert monitor_alive(monitored.state) == 0


def test_signal_is_told_with_the_exit(monitored):
    launched = monitored.launch(shell("kill -TERM $$"))
    assert launched.wait_exited() == Exit(143, 15)


def test_start_by_a_later_client_when_the_launcher_is_gone(monitored):
    launched = monitored.launch(shell("exit 3"), start=False)
    pid = launched.wait_created()
    launched.close()
    with monitored.control() as control:
        assert control.status() == ("created", pid)
        control.start()
        assert control.receive(10).kind == "started"
        assert control.wait(10).code == 3


def test_creation_that_fails_is_reported_and_leaves_no_exit(monitored):
    launched = monitored.launch("import os; os.write(3, b'error 4 mount 13 /a b'); os._exit(1)")
    with pytest.raises(PlanError) as caught:
        launched.wait_created()
    assert (caught.value.index, caught.value.step, caught.value.errno, caught.value.path) == (
        4,
        "mount",
        13,
        "/a b",
    )
    assert launched.reap(block=True) == 0
    assert read_exit(monitored.state) is None


def test_peer_that_dies_before_it_is_ready(monitored):
    launched = monitored.launch("import os; os._exit(9)")
    with pytest.raises(GuestError, match="exit code 9"):
        launched.wait_created()


def test_program_that_cannot_be_executed_exits_with_127(monitored):
    launched = monitored.launch(READY + "os.write(3, b'error 8 execve 2 /nowhere'); os._exit(1)")
    launched.wait_created()
    with pytest.raises(CommandNotFound):
        launched.wait_started()
    assert launched.wait_exited().code == 127
    assert read_exit(monitored.state).code == 127


def test_command_that_does_not_exist(tmp_path):
    launched = launch(id="x", mode="command", state=str(tmp_path), stdio=Stdio(), extra=[("arg", "/nowhere")])
    with pytest.raises(CommandNotFound, match="/nowhere"):
        launched.wait_created()
    launched.reap(block=True)


def test_launch_record_with_an_unknown_key_is_refused(tmp_path):
    launched = launch(id="x", mode="command", state=str(tmp_path), stdio=Stdio(), extra=[("colour", "red")])
    with pytest.raises(PlanError, match="colour"):
        launched.wait_created()
    launched.reap(block=True)


def test_attached_client_gets_all_output_then_the_exit(monitored):
    launched = monitored.launch(shell("echo out; echo err >&2; printf 'x\\0y'; exit 2"), start=False)
    launched.wait_created()
    with monitored.control() as control:
        control.attach()
        launched.start()
        got = list(control.events())
    assert b"".join(o.data for o in got if o.kind == "stdout") == b"out\nx\0y"
    assert b"".join(o.data for o in got if o.kind == "stderr") == b"err\n"
    assert got[-1].exit == Exit(2)


def test_client_given_at_launch_may_give_input(monitored):
    import _socket

    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    with Control(sock=ours) as control:
        monitored.launch(shell("cat"), Stdio(stdin="once", client=theirs.fileno()), start=False)
        theirs.close()
        control.attach(stdin=True, block=True)
        data = os.urandom(1 << 20)
        control.start()
        received = bytearray()
        sent = 0
        while len(received) < len(data):
            wants = [control] if sent < len(data) else []
            readable, writable, _ = select.select([control], wants, [], 10)
            if readable:
                output = control.receive()
                received += output.data
            elif writable:
                control.send_input(data[sent : sent + 4096])
                sent += 4096
        control.close_input()
        assert control.wait(10).code == 0
    assert bytes(received) == data


def test_slow_client_neither_stalls_nor_loses_output_of_the_log(monitored, tmp_path):
    size = 4 << 20
    log = tmp_path / "log"
    launched = monitored.launch(shell(f"head -c {size} /dev/zero"), Stdio(log=f"cri:{log}"), start=False)
    launched.wait_created()
    with monitored.control() as control:
        control.attach()
        launched.start()
        assert launched.wait_exited().code == 0
        got = list(control.events())
    received = sum(len(o.data) for o in got if o.kind == "stdout")
    dropped = sum(o.count for o in got)
    assert received + dropped == size
    assert dropped > 0
    assert got[-1].exit.code == 0
    assert text(log).count("\0") == size


def test_blocking_client_loses_nothing(monitored):
    size = 4 << 20
    launched = monitored.launch(shell(f"head -c {size} /dev/zero"), start=False)
    launched.wait_created()
    with monitored.control() as control:
        control.attach(block=True)
        launched.start()
        time.sleep(0.2)
        got = list(control.events())
    assert sum(len(o.data) for o in got) == size
    assert got[-1].exit.code == 0


def test_blocking_client_that_leaves_lets_the_process_go_on(monitored):
    launched = monitored.launch(shell("head -c 4000000 /dev/zero"), start=False)
    launched.wait_created()
    control = monitored.control()
    control.attach(block=True)
    launched.start()
    time.sleep(0.2)
    assert read_exit(monitored.state) is None
    control.close()
    assert launched.wait_exited().code == 0


def test_terminal_of_the_peer(monitored):
    program = (
        "import os, array, _socket\n"
        "s = _socket.socket(fileno=3)\n"
        "master, slave = os.openpty()\n"
        "s.sendmsg([b'console'], [(1, 1, array.array('i', [master]))])\n"
        "os.write(3, b'ready %d' % os.getpid())\n"
        "os.read(3, 99)\n"
        "os.setsid() if os.getsid(0) != os.getpid() else None\n"
        "import fcntl; fcntl.ioctl(slave, 0x540E, 0)\n"
        "[os.dup2(slave, i) for i in range(3)]\n"
        "os.close(master); os.close(slave); os.close(3)\n"
        "os.execv('/bin/sh', ['sh', '-c', 'stty size; read line; echo got $line; stty size; exit 4'])\n"
    )
    launched = monitored.launch(program, Stdio("terminal", stdin="open", size=(33, 99)), start=False)
    launched.wait_created()
    with monitored.control() as control:
        control.attach(stdin=True)
        launched.start()
        output = b""
        while b"33 99" not in output:
            output += control.receive(10).data
        control.resize(44, 111)
        control.send_input(b"hello\n")
        events = list(control.events())
    output += b"".join(event.data for event in events)
    assert b"got hello\r\n44 111\r\n" in output
    assert events[-1].exit == Exit(4)


def test_passed_descriptors_are_the_process_s_own(monitored):
    reading, writing = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    launched = monitored.launch(shell("echo direct"), Stdio("pass", fds=(null, writing, writing)))
    os.close(writing)
    os.close(null)
    with open(reading, "rb") as file:
        assert file.read() == b"direct\n"
    assert launched.wait_exited().code == 0


def test_descendant_that_keeps_the_output_is_still_logged(monitored, tmp_path):
    log = tmp_path / "log"
    launched = monitored.launch(shell("(sleep 0.5; echo late) & exit 5"), Stdio(log=f"cri:{log}"))
    assert launched.wait_exited().code == 5
    assert "late" not in text(log)
    assert launched.reap(block=True) == 0
    assert "late" in text(log)


def test_adopts_the_process_that_a_foreign_runtime_left(monitored, tmp_path):
    pid_file = tmp_path / "pid"
    command = f"(sleep 0.2; exit 6) >/dev/null & echo $! > {pid_file}"
    launched = launch(
        id="x",
        mode="command",
        state=monitored.state,
        stdio=Stdio(),
        extra=[("arg", "/bin/sh"), ("arg", "-c"), ("arg", command), ("pid-file", str(pid_file))],
    )
    assert launched.wait_created() == int(text(pid_file))
    assert launched.wait_exited().code == 6
    launched.reap(block=True)


def test_resident_memory_is_below_one_mebibyte(monitored, tmp_path):
    launched = monitored.launch(
        shell("head -c 3000000 /dev/zero; exec sleep 60"), Stdio(log=f"json:{tmp_path}/log")
    )
    launched.wait_started()
    deadline = time.monotonic() + 10
    while os.stat(tmp_path / "log").st_size < 18_000_000 and time.monotonic() < deadline:
        time.sleep(0.05)
    status = text(f"/proc/{launched.pid}/status")
    resident = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
    assert resident < 1024, f"{resident} KiB"


def test_a_lease_ends_the_process_with_its_holder(monitored):
    import subprocess

    with subprocess.Popen(["sleep", "60"]) as holder:
        launched = monitored.launch(shell("exec sleep 60"), Stdio(lease=holder.pid))
        launched.wait_started()
        assert read_exit(monitored.state) is None
        holder.kill()
        assert launched.wait_exited() == Exit(137, 9)
