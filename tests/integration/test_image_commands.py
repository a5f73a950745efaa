"""The image commands, end to end: against docker-registry and skopeo, in a root directory of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support import images
from tests.support.registry import PASSWORD, USER, Registry, push, registry, skopeo

from trimaran import Engine

pytestmark = [pytest.mark.root, pytest.mark.peer("docker-registry", "skopeo")]

Run = Callable[..., str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(str(tmp_path_factory.mktemp("registry"))) as running:
        push(f"{images.busybox()}:latest", f"{running.host}/busybox:1")
        push(f"{images.five_layers()}:latest", f"{running.host}/five:1")
        yield running


@pytest.fixture
def trimaran(tmp_path: Path) -> Run:
    """Runs the command on a root of its own; returns its output, or its error output if it is to fail."""

    def run(*words: str, fails: int = 0, data: bytes | None = None, root: str = "root") -> str:
        done = subprocess.run(
            [
                os.path.join(os.path.dirname(sys.executable), "trimaran"),
                "--root",
                str(tmp_path / root),
                *words,
            ],
            input=data,
            capture_output=True,
            env={**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")},
            check=False,
        )
        assert done.returncode == fails, done.stderr.decode()
        return (done.stderr if fails else done.stdout).decode().strip()

    return run


def test_pull_list_history_inspect_and_remove(server: Registry, trimaran: Run) -> None:
    name = f"{server.host}/five:1"
    assert trimaran("pull", name) == name
    assert trimaran("images", "--format", "{{.Repository}}:{{.Tag}} {{.Layers}}") == f"{name} 5"
    assert len(trimaran("history", "-q", name).splitlines()) == 5
    document = json.loads(trimaran("image", "inspect", name))[0]
    assert document["RepoTags"] == [name]
    assert document["Config"]["Cmd"] == ["sh"]
    assert document["RepoDigests"] == [f"{server.host}/five@{document['Digest']}"]
    assert trimaran("rmi", document["Id"][7:19]).splitlines()[0] == f"untagged: {name}"
    assert trimaran("images", "-q") == ""
    assert "is here" in trimaran("rmi", name, fails=125)


def test_removing_the_last_image_leaves_nothing(server: Registry, trimaran: Run, tmp_path: Path) -> None:
    for name in ("five", "busybox"):
        trimaran("pull", f"{server.host}/{name}:1")
    trimaran("rmi", f"{server.host}/five:1")
    assert trimaran("check") == "", "what busybox shares with it is still there"
    trimaran("rmi", f"{server.host}/busybox:1")
    content = tmp_path / "root" / "content"
    assert [path for path in content.rglob("*") if path.is_file()] == []
    assert list((tmp_path / "root").rglob("*/busybox")) == []


def test_push_keeps_digests(server: Registry, trimaran: Run) -> None:
    source = f"{server.host}/five:1"
    trimaran("pull", source)
    trimaran("tag", source, f"{server.host}/mine/again:2")
    digest = trimaran("push", f"{server.host}/mine/again:2")
    assert (
        digest
        == skopeo("inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{source}").strip()
    )
    assert "POST /v2/mine/again/blobs/uploads/?mount=" in server.log(), "layers are mounted, not sent"


def test_push_sends_what_the_registry_lacks(server: Registry, trimaran: Run, tmp_path: Path) -> None:
    source = f"{server.host}/busybox:1"
    trimaran("pull", source)
    with registry(str(tmp_path / "other")) as other:
        digest = trimaran("push", source, f"{other.host}/fresh:1")
        skopeo(
            *("copy", "--src-tls-verify=false", f"docker://{other.host}/fresh:1"),
            f"oci:{tmp_path / 'layout'}:latest",
        )
    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    assert index["manifests"][0]["digest"] == digest


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir"])
def test_save_and_load(server: Registry, trimaran: Run, tmp_path: Path, form: str) -> None:
    name = f"{server.host}/five:1"
    trimaran("pull", name)
    saved = str(tmp_path / "saved")
    trimaran("save", "--format", form, "-o", saved, name)
    before = json.loads(trimaran("image", "inspect", name))
    assert trimaran("load", "-i", saved, root="elsewhere") == f"Loaded image: {name}"
    assert json.loads(trimaran("image", "inspect", name, root="elsewhere")) == before
    assert trimaran("check", root="elsewhere") == ""


def test_skopeo_reads_what_save_writes_and_load_reads_what_skopeo_writes(
    server: Registry, trimaran: Run, tmp_path: Path
) -> None:
    name = f"{server.host}/five:1"
    trimaran("pull", name)
    trimaran("save", "-o", str(tmp_path / "a.tar"), name)
    skopeo("copy", f"docker-archive:{tmp_path / 'a.tar'}", f"oci:{tmp_path / 'a'}:x")
    source = ("copy", "--src-tls-verify=false", f"docker://{name}")
    skopeo(*source, f"docker-archive:{tmp_path / 'b.tar'}:x.example/five:2")
    loaded = (tmp_path / "b.tar").read_bytes()
    assert trimaran("load", data=loaded, root="b") == "Loaded image: x.example/five:2"
    diffs = "{{.RootFS.Layers}}"
    assert trimaran("image", "inspect", "-f", diffs, "x.example/five:2", root="b") == trimaran(
        "image", "inspect", "-f", diffs, name
    )


def test_import_makes_an_image(trimaran: Run) -> None:
    archive = images.archive([images.directory("etc"), images.regular("etc/hello", b"hello")])
    id = trimaran(
        "import", "-c", 'CMD ["x", "y"]', "-c", "ENV A=1", "-", "made:1", data=images.compress(archive)
    )
    assert (
        trimaran("image", "inspect", "-f", "{{json .Config}}", "made:1")
        == '{"Cmd": ["x", "y"], "Env": ["A=1"]}'
    )
    assert trimaran("images", "-q", "--no-trunc") == id


def test_what_cannot_be_unpacked_leaves_no_image(trimaran: Run, tmp_path: Path) -> None:
    assert "cannot be unpacked" in trimaran("import", "-", "bad:1", data=b"x" * 5000, fails=125)
    assert trimaran("images", "-q") == ""
    trimaran("system", "prune", "-f")
    assert [path for path in (tmp_path / "root" / "content").rglob("*") if path.is_file()] == []


def test_check_finds_and_heals(server: Registry, trimaran: Run, tmp_path: Path) -> None:
    name = f"{server.host}/five:1"
    trimaran("pull", name)
    blob = max((tmp_path / "root" / "content").rglob("*"), key=lambda path: path.stat().st_size)
    blob.chmod(0o600)
    with blob.open("r+b") as file:
        file.write(b"damage")
    done = subprocess.run(
        [
            os.path.join(os.path.dirname(sys.executable), "trimaran"),
            "--root",
            str(tmp_path / "root"),
            "check",
        ],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 1
    assert "was damaged in the store" in done.stdout
    assert trimaran("check", "--repair") == f"healed: {name}"
    assert trimaran("check") == ""


def test_login_is_needed_kept_and_forgotten(trimaran: Run, tmp_path: Path) -> None:
    with registry(str(tmp_path / "closed"), htpasswd=True) as closed:
        push(f"{images.busybox()}:latest", f"{closed.host}/a:1", f"--dest-creds={USER}:{PASSWORD}")
        assert f"trimaran login {closed.host}" in trimaran("pull", f"{closed.host}/a:1", fails=125)
        wrong = ("login", "-u", USER, "--password-stdin", closed.host)
        assert "refuses access" in trimaran(*wrong, data=b"wrong\n", fails=125)
        trimaran("login", "-u", USER, "--password-stdin", closed.host, data=PASSWORD.encode())
        stored = tmp_path / ".config" / "containers" / "auth.json"
        assert stored.stat().st_mode & 0o777 == 0o600
        assert trimaran("pull", f"{closed.host}/a:1") == f"{closed.host}/a:1"
        trimaran("logout", closed.host)
        assert "refuses access" in trimaran("pull", f"{closed.host}/a:1", fails=125)
        trimaran("pull", "--creds", f"{USER}:{PASSWORD}", f"{closed.host}/a:1")


def test_commit_and_export(server: Registry, trimaran: Run, tmp_path: Path) -> None:
    name = f"{server.host}/busybox:1"
    trimaran("pull", name)
    with Engine(str(tmp_path / "root")) as engine:
        change = ["sh", "-c", "echo new >/new; rm /etc/group"]
        container = engine.create(name, change, name="c", network="none")
        container.start()
        assert container.wait() == 0
        trimaran("commit", "-c", 'CMD ["cat", "/new"]', "c", "mine:1")
        trimaran("export", "-o", str(tmp_path / "c.tar"), "c")
        container.remove()
        assert engine.run("mine:1", network="none").stdout == b"new\n"
        assert engine.run("mine:1", ["test", "-e", "/etc/group"], network="none").exit_code == 1
    with tarfile.open(tmp_path / "c.tar") as archive:
        names = {os.path.normpath(member.name) for member in archive}
    assert "new" in names
    assert "bin/busybox" in names
    assert "etc/group" not in names
