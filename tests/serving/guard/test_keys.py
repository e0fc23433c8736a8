"""Keys: where they are read from, and who gets in with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_asgi import Answer, App, ask, passes_other_scopes, scope

from qkv.errors import QKVError
from qkv.serving.guard.keys import KeyCheck, Keys, read_keys

KEY, OTHER = "correct-horse-battery", "staple-0123456789"


def answer(*authorization: str, method: str = "GET", path: str = "/v1/models") -> Answer:
    app = App()
    headers = [("authorization", value) for value in authorization]
    given = ask(KeyCheck(app, keys=Keys([KEY, OTHER])), scope(method, path, headers))
    assert (given.status == 200) == bool(app.asked)
    return given


@pytest.mark.parametrize("key", [KEY, OTHER])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_each_key_opens(scheme: str, key: str) -> None:
    assert answer(f"{scheme} {key}").status == 200


def test_without_a_key_it_says_what_to_send() -> None:
    refused = answer()
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="qkv"'
    assert "key" in refused.error


@pytest.mark.parametrize(
    "authorization",
    [
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY.upper()}",
        f"Bearer {KEY},{OTHER}",
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        KEY,
        f"Bearer{KEY}",
        "",
        "Bearer \xff\xfe",
    ],
)
def test_anything_else_does_not(authorization: str) -> None:
    refused = answer(authorization)
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="qkv", error="invalid_token"'
    assert KEY not in refused.error


def test_two_headers_are_none() -> None:
    assert answer(f"Bearer {KEY}", "Bearer no").status == 401


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/healthz", "/readyz", "/favicon.ico"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_page_and_the_probes_are_open(method: str, path: str) -> None:
    assert answer(method=method, path=path).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("POST", "/v1/models/a/predict"),
        ("GET", "/v1/models/a/examples/3/image"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/page"),
        ("GET", "/pages/app.js"),
        ("GET", "/healthz/"),
        ("POST", "/page/app.js"),
        ("POST", "/"),
        ("OPTIONS", "/"),
    ],
)
def test_nothing_else_is(method: str, path: str) -> None:
    assert answer(method=method, path=path).status == 401


def test_every_key_is_compared_however_early_one_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(len(other))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    keys = Keys([KEY, OTHER, "another-one-of-many"])
    assert keys.accept(KEY.encode())
    assert not keys.accept(b"x")
    assert compared == [32] * 6  # digests of one length: nothing tells how long a key is


def test_the_start_of_the_server_passes() -> None:
    assert passes_other_scopes(lambda app: KeyCheck(app, keys=Keys([KEY])))


def key_file(folder: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def test_a_file_has_a_key_on_each_line(tmp_path: Path) -> None:
    keys = read_keys(key_file(tmp_path, f"# ours\n{KEY}\n\n  {OTHER}  \r\n#{KEY}not\n"))
    assert len(keys) == 2
    assert keys.accept(KEY.encode())
    assert keys.accept(OTHER.encode())
    assert not keys.accept(b"# ours")
    assert not keys.accept(b"")


@pytest.mark.parametrize("content", ["", "\n\n", "# only a comment\n"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    path = key_file(tmp_path, content)
    with pytest.raises(QKVError) as refused:
        read_keys(path)
    assert str(refused.value) == f"{path} holds no key; write one key on each line"


@pytest.mark.parametrize(
    "line", ["short", "two words are no key at all", "clé-clé-clé-clé-clé-clé"]
)
def test_a_line_that_is_no_key_is_named_but_not_shown(tmp_path: Path, line: str) -> None:
    with pytest.raises(QKVError, match="line 2 of .* is no key") as refused:
        read_keys(key_file(tmp_path, f"{KEY}\n{line}\n"))
    assert line not in str(refused.value)


@pytest.mark.skipif(os.name != "posix", reason="files have other permissions there")
@pytest.mark.parametrize(("mode", "fits"), [(0o600, True), (0o640, True), (0o644, False)])
def test_a_file_that_everyone_may_read_is_refused(tmp_path: Path, mode: int, fits: bool) -> None:
    path = key_file(tmp_path, KEY, mode)
    if fits:
        assert len(read_keys(path)) == 1
    else:
        with pytest.raises(QKVError, match="open to every user .* chmod o-rwx"):
            read_keys(path)


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QKVError, match="cannot read .*absent"):
        read_keys(tmp_path / "absent")
    with pytest.raises(QKVError, match="cannot read"):
        read_keys(tmp_path)
    with pytest.raises(QKVError, match="is not text"):
        read_keys(key_file(tmp_path, b"\xff" * 40))
    with pytest.raises(QKVError, match="larger than"):
        read_keys(key_file(tmp_path, "k" * 2_000_000))
