"""I5: registries that redirect credentials, give up TLS, or ask for a token for something else."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.support import images
from tests.support.fake_registry import FakeRegistry, Handler, fake_registry
from tests.support.registry import certificate

from trimaran.errors import RegistryError, TrimaranError, Unauthorized
from trimaran.image.client import Retry, Transport
from trimaran.image.credentials import Credential, Credentials
from trimaran.image.pull import pull
from trimaran.image.registries import Endpoint
from trimaran.image.store import AREA, ImageStore
from trimaran.state import Database

SECRET = Credential("me", "hunter2")
BASIC = "Basic " + base64.b64encode(b"me:hunter2").decode()


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("layout") / "l")
    images.write_layout(path, [images.archive([images.regular("x", b"x" * 5000)])])
    return path


@pytest.fixture
def registry(layout: str) -> Iterator[FakeRegistry]:
    with fake_registry(layout) as running:
        yield running


@pytest.fixture
def other(layout: str) -> Iterator[FakeRegistry]:
    with fake_registry(layout) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    database = Database(str(tmp_path / "state.db"), [AREA])
    yield ImageStore(str(tmp_path), database)
    database.close()


def transport(**options: Any) -> Transport:
    return Transport(
        environ={}, credentials=Credentials({}, given=SECRET), retry=Retry(attempts=1), timeout=5.0, **options
    )


def wants_password(handler: Handler) -> bool:
    if handler.headers.get("Authorization") == BASIC:
        return False
    handler.answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="x"'})
    return True


def redirect(target: str) -> Any:
    def fault(handler: Handler) -> bool:
        if "/blobs/" not in handler.path:
            return False
        handler.answer(307, b"", {"Location": target + handler.path})
        return True

    return fault


def test_a_redirect_does_not_take_the_password_along(
    registry: FakeRegistry, other: FakeRegistry, store: ImageStore
) -> None:
    registry.faults += [wants_password, redirect(f"http://{other.host}")]
    pull(registry.image, store, transport())
    assert any(authorization == BASIC for _, _, authorization in registry.requests)
    assert other.requests
    assert {authorization for _, _, authorization in other.requests} == {""}


def test_a_redirected_host_cannot_ask_for_it_either(
    registry: FakeRegistry, other: FakeRegistry, store: ImageStore
) -> None:
    registry.faults += [wants_password, redirect(f"http://{other.host}")]
    other.faults.append(wants_password)
    with pytest.raises(Unauthorized):
        pull(registry.image, store, transport())
    assert {authorization for _, _, authorization in other.requests} == {""}


def test_redirects_in_a_circle_end(registry: FakeRegistry, store: ImageStore) -> None:
    registry.faults.append(redirect(f"http://{registry.host}"))
    with pytest.raises(RegistryError, match="in a circle"):
        pull(registry.image, store, transport())


@pytest.mark.parametrize("target", ["file:///etc/passwd#", "gopher://x", "http://user@h", "//"])
def test_redirects_to_what_is_no_registry(registry: FakeRegistry, store: ImageStore, target: str) -> None:
    registry.faults.append(redirect(target))
    with pytest.raises(TrimaranError, match=r"redirects|cannot reach"):
        pull(registry.image, store, transport())


@pytest.fixture
def tls(layout: str, tmp_path: Path) -> Iterator[tuple[FakeRegistry, dict[str, str]]]:
    pair = certificate(str(tmp_path))
    with fake_registry(layout, tls=pair) as running:
        directory = tmp_path / "containers" / "certs.d" / running.host
        directory.mkdir(parents=True)
        (directory / "ca.crt").write_bytes(Path(pair[0]).read_bytes())
        yield running, {"XDG_CONFIG_HOME": str(tmp_path)}


def secure(environ: dict[str, str]) -> Transport:
    return Transport(
        environ=environ, credentials=Credentials({}, given=SECRET), retry=Retry(attempts=1), timeout=5.0
    )


def test_certs_d_is_trusted_and_nothing_else(
    tls: tuple[FakeRegistry, dict[str, str]], store: ImageStore
) -> None:
    registry, environ = tls
    with pytest.raises(RegistryError, match=r"certs\.d"):
        pull(registry.image, store, secure({}))
    assert pull(registry.image, store, secure(environ)).layers


def test_tls_is_not_given_up_by_a_redirect(
    tls: tuple[FakeRegistry, dict[str, str]], other: FakeRegistry, store: ImageStore
) -> None:
    registry, environ = tls
    registry.faults.append(redirect(f"http://{other.host}"))
    with pytest.raises(RegistryError, match="give up TLS"):
        pull(registry.image, store, secure(environ))
    assert other.requests == []


def test_passwords_go_to_no_token_server_in_plain_text(
    tls: tuple[FakeRegistry, dict[str, str]], other: FakeRegistry, store: ImageStore
) -> None:
    registry, environ = tls
    challenge = f'Bearer realm="http://{other.host}/token",service="s"'

    def ask(handler: Handler) -> bool:
        handler.answer(401, b"{}", {"WWW-Authenticate": challenge})
        return True

    registry.faults.append(ask)
    with pytest.raises(RegistryError, match="plain text"):
        pull(registry.image, store, secure(environ))
    assert other.requests == []


def test_a_token_is_asked_for_our_repository_only(
    registry: FakeRegistry, other: FakeRegistry, store: ImageStore
) -> None:
    challenge = (
        f'Bearer realm="http://{other.host}/token",service="s",scope="repository:bank/vault:pull,push"'
    )

    def ask(handler: Handler) -> bool:
        if handler.headers.get("Authorization") == "Bearer good":
            return False
        handler.answer(401, b"{}", {"WWW-Authenticate": challenge})
        return True

    def token(handler: Handler) -> bool:
        handler.answer(200, b'{"token":"good"}')
        return True

    registry.faults.append(ask)
    other.faults.append(token)
    pull(registry.image, store, transport())
    scopes = [parse_qs(urlsplit(path).query).get("scope") for _, path, _ in other.requests]
    assert scopes
    assert all(scope == ["repository:app:pull"] for scope in scopes)


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"token":1}', b'{"token":"a\\r\\nX: y"}', b"{" * 5000])
def test_tokens_that_are_none(
    registry: FakeRegistry, other: FakeRegistry, store: ImageStore, answer: bytes
) -> None:
    challenge = f'Bearer realm="http://{other.host}/token"'

    def ask(handler: Handler) -> bool:
        handler.answer(401, b"{}", {"WWW-Authenticate": challenge})
        return True

    def token(handler: Handler) -> bool:
        handler.answer(200, answer)
        return True

    registry.faults.append(ask)
    other.faults.append(token)
    with pytest.raises(RegistryError, match="token"):
        pull(registry.image, store, transport())


def test_a_password_that_is_refused_is_not_sent_again_and_again(
    registry: FakeRegistry, store: ImageStore
) -> None:
    def refuse(handler: Handler) -> bool:
        handler.answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="x"'})
        return True

    registry.faults.append(refuse)
    with pytest.raises(Unauthorized):
        pull(registry.image, store, transport())
    assert sum(authorization == BASIC for _, _, authorization in registry.requests) == 1


def test_lists_do_not_lead_to_another_host(registry: FakeRegistry, other: FakeRegistry) -> None:
    def page(handler: Handler) -> bool:
        if "/tags/list" not in handler.path:
            return False
        link = {"Link": f'<http://{other.host}/v2/app/tags/list>; rel="next"'}
        handler.answer(200, b'{"tags":["1"]}', link)
        return True

    from trimaran.image.repository import Repository

    registry.faults.append(page)
    repository = Repository(transport().session(Endpoint(registry.host, "app")), "app")
    with pytest.raises(RegistryError, match="another host"):
        list(repository.tags())
    assert other.requests == []


def test_error_messages_cannot_write_to_the_terminal(registry: FakeRegistry, store: ImageStore) -> None:
    def refuse(handler: Handler) -> bool:
        handler.answer(403, b'{"errors":[{"code":"X","message":"\\u001b[2Jgone\\r\\n"}]}')
        return True

    registry.faults.append(refuse)
    with pytest.raises(Unauthorized) as caught:
        pull(registry.image, store, transport())
    assert str(caught.value).isprintable()
