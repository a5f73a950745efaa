"""The lab machine: QEMU with a kernel booted directly, on KVM where that works, else emulated."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab.image import Image

QEMU = "qemu-system-x86_64"
MEMORY = "3G"
# An emulated EPYC with SVM: kvm-amd loads in the guest, and KVM runs there, whatever the host has.
# What the emulator lacks of an EPYC is named, since it warns about each otherwise.
LACKING = ["3dnowprefetch", "fxsr-opt", "misalignsse", "nrip-save", "osvw", "rdseed", "sha-ni", "topoext"]
CPU = ",".join(["EPYC", "+svm", "+npt", "-xsavec", *(f"-{feature}" for feature in LACKING)])
EMULATED = ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", CPU)
HARDWARE = ("-accel", "kvm", "-cpu", "host")
PROBE_SECONDS = 15
# The probe's guest has no root: its kernel gets as far as the initramfs's wait for a disk.
PROBE_MARK = b"Run /init as init process"
KERNEL_LINE = "root=/dev/vda console=ttyS0 quiet loglevel=3 panic=-1 psi=1 cryptomgr.notests"
SYSTEMD_LINE = "systemd.show_status=no apparmor=1 security=apparmor systemd.unified_cgroup_hierarchy=1"


class MachineError(Exception):
    """The machine did not do what it was started for."""


def tsc_khz() -> int:
    """The host's time stamp counter, in kHz; an emulated guest that has to measure it hangs now and then."""
    log = subprocess.run(["dmesg"], capture_output=True, text=True, check=False).stdout
    if found := re.search(r"tsc: Detected ([\d.]+) MHz", log):
        return round(float(found[1]) * 1000)
    rates = re.findall(r"^cpu MHz\s*: ([\d.]+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return round(max(map(float, rates), default=0) * 1000)


def command_line(image: Image, accelerator: tuple[str, ...], console: str, extra: str = "") -> list[str]:
    khz = tsc_khz()
    clock = f" tsc_early_khz={khz}" if khz and accelerator == EMULATED else ""
    return [
        *(
            QEMU,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-M",
            "q35",
            *accelerator,
        ),
        *("-smp", str(min(os.cpu_count() or 1, 4)), "-m", MEMORY, "-serial", console),
        *("-kernel", str(image.kernel), "-initrd", str(image.initramfs)),
        *("-append", f"{KERNEL_LINE} {SYSTEMD_LINE}{clock}{extra}"),
        *("-device", "virtio-rng-pci"),
    ]


def drive(path: Path, serial: str, snapshot: bool = False) -> list[str]:
    options = f"if=none,id={serial},file={path},format=raw,cache=unsafe,discard=unmap"
    return [
        *("-drive", options + (",snapshot=on" if snapshot else "")),
        *("-device", f"virtio-blk-pci,drive={serial},serial={serial}"),
    ]


def kvm_works(image: Image) -> bool:
    """Whether /dev/kvm runs a stock kernel. It may open and still not do so, so one is booted."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    command = command_line(image, HARDWARE, "stdio", " ignore_loglevel")
    with tempfile.TemporaryFile() as output:
        guest = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + PROBE_SECONDS
            while time.monotonic() < deadline and guest.poll() is None:
                output.seek(0)
                if PROBE_MARK in output.read():
                    return True
                time.sleep(0.1)
            return False
        finally:
            guest.kill()
            guest.wait()


def accelerator(image: Image) -> tuple[str, ...]:
    """What to run on; the probe's answer is kept until the host boots again."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    answer = image.disk.parent / f"kvm-{boot}"
    if not answer.exists():
        for old in image.disk.parent.glob("kvm-*"):
            old.unlink()
        answer.write_text("yes" if kvm_works(image) else "no")
    return HARDWARE if answer.read_text() == "yes" else EMULATED


def scratch() -> Path:
    """A directory for a run's disks, on tmpfs where that has room."""
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and shutil.disk_usage(shared).free > 3 << 30
    return Path(tempfile.mkdtemp(prefix="trimaran-lab-", dir=shared if roomy else None))


def run(image: Image, payload: Path, results: Path, *, seconds: float, interactive: bool = False) -> None:
    """Boot, let the guest do the job on ``payload`` (a tar), and leave its answer (a tar) in ``results``.

    Raises :class:`MachineError` when the guest has not powered off after ``seconds``.
    """
    with results.open("wb") as output:
        output.truncate(1 << 30)
    kind = accelerator(image)
    command = command_line(image, kind, "mon:stdio" if interactive else "stdio")
    command += drive(image.disk, "root", snapshot=True)
    command += [*drive(payload, "input"), *drive(results, "output")]
    print(f"lab: booting on {kind[1].split(',')[0]}", file=sys.stderr, flush=True)
    guest = subprocess.Popen(
        command,
        stdin=None if interactive else subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(results.parent)},
    )
    try:
        status = guest.wait(timeout=None if interactive else seconds)
    except subprocess.TimeoutExpired:
        raise MachineError(f"the lab machine was still running after {seconds:.0f} s") from None
    finally:
        guest.kill()
        guest.wait()
    if status:
        raise MachineError(f"{QEMU} failed with exit status {status}")
