"""Credentials, registries.conf, proxies, challenges: what the user has set is found, in the right order."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.errors import InvalidInput, NotFound, RegistryError, Unsupported
from trimaran.image.auth import parse_challenges
from trimaran.image.client import Retry
from trimaran.image.credentials import Credential, Credentials
from trimaran.image.proxy import bypassed, proxy_for
from trimaran.image.reference import Reference
from trimaran.image.registries import Registries
from trimaran.image.repository import next_link


def auth(user: str, password: str = "p") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}


def user_of(environ: dict[str, str], host: str, path: str = "") -> str:
    found = Credentials(environ).find(host, path)
    return found.username if found else ""


def test_the_order_of_files(tmp_path: Path, environ: dict[str, str]) -> None:
    places = [".dockercfg", ".docker/config.json", ".config/containers/auth.json", "run/containers/auth.json"]
    for place in places:
        entry = {"h.example": auth(place)}
        write(tmp_path / place, entry if place == ".dockercfg" else {"auths": entry})
        assert user_of(environ, "h.example") == place
    write(tmp_path / "own", {"auths": {"h.example": auth("own")}})
    assert user_of({**environ, "REGISTRY_AUTH_FILE": str(tmp_path / "own")}, "h.example") == "own"
    assert user_of({**environ, "REGISTRY_AUTH_FILE": str(tmp_path / "none")}, "h.example") == ""


def test_the_most_specific_entry(tmp_path: Path, environ: dict[str, str]) -> None:
    entries = {"h.example": auth("host"), "h.example/team": auth("team"), "h.example/team/app": auth("app")}
    write(tmp_path / ".docker/config.json", {"auths": entries})
    assert user_of(environ, "h.example", "other/app") == "host"
    assert user_of(environ, "h.example", "team/x") == "team"
    assert user_of(environ, "h.example", "team/app") == "app"
    assert user_of(environ, "h.example", "team/application") == "team"
    assert user_of(environ, "elsewhere.example", "team/app") == ""


def test_docker_hub_by_its_old_name(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path / ".docker/config.json", {"auths": {"https://index.docker.io/v1/": auth("hub")}})
    assert user_of(environ, "docker.io", "library/debian") == "hub"


def test_login_and_logout_keep_the_rest_of_the_file(tmp_path: Path, environ: dict[str, str]) -> None:
    file = tmp_path / ".docker/config.json"
    write(file, {"auths": {"a.example": auth("a")}, "other": 1})
    credentials = Credentials(environ)
    assert credentials.store("b.example", Credential("b", "x:y")) == str(file)
    assert credentials.find("b.example") == Credential("b", "x:y")
    assert json.loads(file.read_text())["other"] == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert credentials.remove("b.example") == [str(file)]
    assert user_of(environ, "a.example") == "a"
    with pytest.raises(NotFound):
        credentials.remove("b.example")


def helper(tmp_path: Path, script: str) -> None:
    path = tmp_path / "bin" / "docker-credential-fake"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_helpers(tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    answer = '{"ServerURL":"x","Username":"<token>","Secret":"identity"}'
    known = f"[ $host = h.example ] && echo '{answer}'"
    helper(tmp_path, f"read host; {known} || {{ echo credentials not found; exit 1; }}")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    write(tmp_path / ".docker/config.json", {"credHelpers": {"h.example": "fake", "i.example": "fake"}})
    credentials = Credentials(environ)
    assert credentials.find("h.example") == Credential(identity_token="identity")
    assert credentials.find("i.example") is None
    write(tmp_path / ".docker/config.json", {"credsStore": "../../evil"})
    with pytest.raises(InvalidInput):
        credentials.find("h.example")
    write(tmp_path / ".docker/config.json", {"credsStore": "missing"})
    with pytest.raises(RegistryError, match="docker-credential-missing"):
        credentials.find("h.example")


@pytest.mark.parametrize("text", ["[]", "{", "x" * 10, '{"auths":{"h.example":{"auth":"%%%"}}}'])
def test_broken_files_are_named(tmp_path: Path, environ: dict[str, str], text: str) -> None:
    (tmp_path / "broken").write_text(text)
    with pytest.raises(InvalidInput):
        Credentials({**environ, "REGISTRY_AUTH_FILE": str(tmp_path / "broken")}).find("h.example")


CONFIG = {
    "unqualified-search-registries": ["quay.example", "docker.io"],
    "aliases": {"tool": "tools.example/team/tool"},
    "registry": [
        {
            "prefix": "a.example/team",
            "location": "b.example/mirrored",
            "mirror": [{"location": "m1.example", "insecure": True}, {"location": "m2.example/x"}],
        },
        {"location": "blocked.example", "blocked": True},
        {"location": "plain.example", "insecure": True},
        {"prefix": "*.corp.example", "location": "cache.example/corp"},
    ],
}


def places(text: str) -> list[str]:
    found = Registries([("test", CONFIG)]).endpoints(Reference.parse(text))
    return [f"{e.host}/{e.path}{' insecure' if e.insecure else ''}" for e in found]


def test_registries_conf() -> None:
    assert places("a.example/team/app") == [
        "m1.example/app insecure",
        "m2.example/x/app",
        "b.example/mirrored/app",
    ]
    assert places("a.example/teams/app") == ["a.example/teams/app"]
    assert places("plain.example/x") == ["plain.example/x insecure"]
    assert places("eu.corp.example/x/y") == ["cache.example/corp/x/y"]
    assert places("debian") == ["docker.io/library/debian"]
    with pytest.raises(RegistryError, match="blocks"):
        places("blocked.example/x")


def test_short_names() -> None:
    registries = Registries([("test", CONFIG)])
    assert [str(r) for r in registries.candidates("x:1")] == ["quay.example/x:1", "docker.io/library/x:1"]
    assert [str(r) for r in registries.candidates("tool:2")] == ["tools.example/team/tool:2"]
    assert [str(r) for r in registries.candidates("h.example/x")] == ["h.example/x:latest"]
    assert [str(r) for r in Registries().candidates("x")] == ["docker.io/library/x:latest"]


@pytest.mark.parametrize("document", [{"registry": 1}, {"registry": [{}]}, {"aliases": [1]}])
def test_malformed_registries_conf(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Registries([("test.conf", document)])


def test_proxies() -> None:
    environ = {
        "https_proxy": "http://me:p%40ss@proxy.example:3128",
        "NO_PROXY": ".corp.example,10.0.0.0/8,h:5000",
    }
    chosen = proxy_for("https", "registry.example", environ)
    assert chosen is not None
    assert chosen.address == "proxy.example:3128"
    assert chosen.authorization == "Basic " + base64.b64encode(b"me:p@ss").decode()
    for host in (
        "x.corp.example",
        "corp.example:5000",
        "10.1.2.3:5000",
        "127.0.0.1:5000",
        "localhost",
        "h:5000",
    ):
        assert proxy_for("https", host, environ) is None
    assert proxy_for("https", "h:6000", environ) is not None
    assert proxy_for("http", "registry.example", environ) is None
    assert bypassed("anything.example", "*")
    with pytest.raises(Unsupported):
        proxy_for("http", "a.example", {"ALL_PROXY": "socks5://x:1080"})


def test_challenges() -> None:
    header = 'Basic realm="a, b", Bearer realm="https://t.example/token",service="s",scope="repository:x:pull,push"'
    basic, bearer = parse_challenges(header)
    assert (basic.scheme, basic.parameters) == ("basic", {"realm": "a, b"})
    assert bearer.parameters["scope"] == "repository:x:pull,push"
    assert parse_challenges('Bearer realm="a\\"b"')[0].parameters == {"realm": 'a"b'}


@given(st.text(alphabet='Bb =,"\\\t/:a', max_size=60) | st.text(max_size=60))
def test_any_challenge_is_read_to_its_end(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower()


def test_links() -> None:
    assert next_link('</v2/x/tags/list?last=a&n=5>; rel="next"') == "/v2/x/tags/list?last=a&n=5"
    assert next_link('<a>; rel="prev", <b>; rel="next"') == "b"
    assert next_link("") == ""


def test_retries_end() -> None:
    retry = Retry(attempts=3, first=1.0, patience=10.0)
    delays = [retry.delay(attempt) for attempt in (1, 2, 3)]
    assert delays[2] is None
    assert 0.5 <= (delays[0] or 0) <= 1.0
    assert 1.0 <= (delays[1] or 0) <= 2.0
    assert retry.delay(1, asked=5.0) == 5.0
    assert retry.delay(1, asked=11.0) is None
