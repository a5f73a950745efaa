"""Runs in the lab machine: unpacks the input disk, runs its job, packs the results onto the output disk."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

LAB = Path("/lab")
DISKS = "/dev/disk/by-id/virtio-"
USER = ["systemd-run", "--user", "--machine=lab@", "--wait", "--pipe", "--quiet", "--collect"]
USER += ["--property=Delegate=yes", "--working-directory=/lab", "--setenv=HOME=/home/lab"]


def unpack() -> Any:
    for _ in range(500):
        if os.path.exists(DISKS + "input"):
            break
        time.sleep(0.02)
    subprocess.run(["tar", "-x", "-f", DISKS + "input", "-C", "/", "--numeric-owner"], check=True)
    return json.loads((LAB / "job.json").read_text())


def main() -> None:
    job = unpack()
    results = LAB / "results"
    results.mkdir(mode=0o777, exist_ok=True)
    results.chmod(0o777)
    environment = job["environment"]
    statuses = []
    for step in job["steps"]:
        command = step["command"]
        if step["user"] == "lab":
            command = [*USER, *(f"--setenv={key}={value}" for key, value in environment.items()), *command]
        statuses.append(
            subprocess.run(command, cwd=LAB, env={**os.environ, **environment}, check=False).returncode
        )
    (results / "statuses.json").write_text(json.dumps(statuses))
    journal = subprocess.run(["journalctl", "-b", "--no-pager"], capture_output=True, check=False).stdout
    (results / "journal").write_bytes(journal)
    subprocess.run(["tar", "-c", "-f", DISKS + "output", "-C", LAB, "results"], check=True)
    os.sync()


if __name__ == "__main__":
    main()
