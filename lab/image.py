"""The lab's disk image, kernel and initramfs, from Debian packages; cached by the digest of what goes in."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from lab import initramfs

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
CACHE = TOP / ".cache" / "lab"
SUITE = "bookworm"
SIZE = "6G"
# Fixed, so that the same packages give the same image.
EPOCH = "1700000000"
UUID = "7472696d-6172-616e-206c-616220303031"
SITE_PACKAGES = "opt/trimaran/lib/python3.11/site-packages"
# Of what developers need, the tools that no test imports.
TOOLS = ("import-linter", "mypy", "pytest-xdist", "ruff")
# Units that would only lengthen the boot; the peers' daemons are started by the tests that want them.
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"),
    *("e2scrub_reap.service", "fstrim.timer", "podman-auto-update.timer", "podman-restart.service"),
    *("podman.socket", "podman-auto-update.service", "docker.service", "docker.socket"),
    *("containerd.service", "nftables.service", "getty@tty1.service", "serial-getty@ttyS0.service"),
    *("systemd-timesyncd.service", "systemd-update-utmp.service", "systemd-random-seed.service"),
)


@dataclass(frozen=True)
class Image:
    """What a machine boots from."""

    disk: Path
    kernel: Path
    initramfs: Path


class BuildError(Exception):
    """The image cannot be made here; the message says why."""


def words(path: Path) -> list[str]:
    return [word for line in path.read_text().splitlines() for word in line.split("#")[0].split()]


def requirements() -> list[str]:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for lines in extras.values() for line in lines)]
    return sorted({line for line in wanted if not line.startswith(TOOLS)})


def digest() -> str:
    """Of everything that the image is made from, apart from the versions that the archive serves."""
    hasher = hashlib.sha256()
    inputs = [
        HERE / "packages",
        HERE / "image.py",
        HERE / "initramfs.py",
        *sorted((HERE / "guest").iterdir()),
    ]
    for path in inputs:
        hasher.update(path.name.encode() + b"\0" + path.read_bytes())
    hasher.update("\0".join(requirements()).encode())
    return hasher.hexdigest()[:16]


def run(*command: str | Path) -> None:
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BuildError(f"{command[0]} failed ({result.returncode}):\n{result.stderr[-3000:]}")


def workspace(needed: int = 4 << 30) -> Path:
    """A directory on tmpfs when that has room, since disks may be slow; else under the cache."""
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and shutil.disk_usage(shared).free > needed
    return Path(tempfile.mkdtemp(prefix="trimaran-lab-", dir=shared if roomy else CACHE))


def bootstrap(root: Path) -> None:
    exclude = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info")]
    packages = ",".join(words(HERE / "packages"))
    run("mmdebstrap", "--mode=root", "--variant=minbase", *exclude, f"--include={packages}", SUITE, str(root))


def install_python(root: Path) -> None:
    """A virtual environment at /opt/trimaran with what Trimaran and its tests import, but not Trimaran."""
    run("chroot", root, "/usr/bin/python3.11", "-m", "venv", "--without-pip", "/opt/trimaran")
    platforms = [f"--platform=manylinux{tag}_x86_64" for tag in ("_2_17", "2014", "_2_28", "_2_34")]
    run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
        *("--python-version=3.11", "--implementation=cp", "--only-binary=:all:", *platforms),
        *("--target", str(root / SITE_PACKAGES), *requirements()),
    )
    run("chroot", root, "/usr/bin/python3.11", "-m", "compileall", "-q", "-j2", f"/{SITE_PACKAGES}")


def configure(root: Path) -> None:
    for name in MASKED:
        unit = root / "etc/systemd/system" / name
        unit.unlink(missing_ok=True)
        unit.symlink_to("/dev/null")
    install(root, "run.py", "usr/lib/lab/run.py", 0o755)
    install(root, "lab.service", "etc/systemd/system/lab.service")
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "lab.service").symlink_to("/etc/systemd/system/lab.service")
    install(root, "delegate.conf", "etc/systemd/system/user@.service.d/delegate.conf")
    (root / "etc/hostname").write_text("lab\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost lab\n::1 localhost\n")
    (root / "etc/fstab").write_text("")
    run("chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", "--uid", "1000", "lab")
    linger = root / "var/lib/systemd/linger"
    linger.mkdir(parents=True, exist_ok=True)
    (linger / "lab").touch()


def install(root: Path, name: str, target: str, mode: int = 0o644) -> None:
    destination = root / target
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(HERE / "guest" / name, destination)
    destination.chmod(mode)


def make_disk(root: Path, disk: Path) -> None:
    """An ext4 image of a directory: no loop device and no mount is needed."""
    options = f"hash_seed={UUID},lazy_itable_init=1,lazy_journal_init=1"
    run("mke2fs", "-q", "-t", "ext4", "-m", "0", "-U", UUID, "-E", options, "-d", root, disk, SIZE)


def build() -> Image:
    """The cached image for the present inputs, made first if it isn't there. Needs root and mmdebstrap."""
    target = CACHE / digest()
    image = Image(target / "root.ext4", target / "vmlinuz", target / "initramfs")
    if target.is_dir():
        return image
    if os.geteuid() != 0:
        raise BuildError("making the lab's image needs root")
    CACHE.mkdir(parents=True, exist_ok=True)
    os.environ["SOURCE_DATE_EPOCH"] = os.environ["E2FSPROGS_FAKE_TIME"] = EPOCH
    work = workspace()
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=CACHE))
    try:
        root = work / "root"
        bootstrap(root)
        install_python(root)
        configure(root)
        kernel = max(path.name for path in (root / "lib/modules").iterdir())
        (partial / "packages").write_bytes((root / "var/lib/dpkg/status").read_bytes())
        shutil.copyfile(root / f"boot/vmlinuz-{kernel}", partial / "vmlinuz")
        (partial / "initramfs").write_bytes(initramfs.build(root, kernel))
        make_disk(root, partial / "root.ext4")
        for old in CACHE.glob("[0-9a-f]" * 16):
            shutil.rmtree(old)
        partial.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)
    return image
