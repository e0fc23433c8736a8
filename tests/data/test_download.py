"""Downloads: nothing unverified is ever shown, and a bad network is survived or named."""

from __future__ import annotations

import gzip
import hashlib
import mmap
import random
import threading
import time
from pathlib import Path
from typing import Any

import filelock
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.data.download import RemoteFile, RetryPolicy, download, install, read_verified
from qkv.errors import DataError, DownloadError

CONTENT = random.Random(1).randbytes(300_007)  # what the server serves by default
PACKED = gzip.compress(CONTENT, mtime=0)


def remote(content: bytes, *urls: str, gzipped: bool = False) -> RemoteFile:
    return RemoteFile("thing", hashlib.sha256(content).hexdigest(), len(content), urls, gzipped)


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".thing.lock"}


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between requests, which take no time."""
    waited: list[float] = []
    monkeypatch.setattr("qkv.data.download.sleep", waited.append)
    return waited


# --- verified content -----------------------------------------------------------------------


def test_a_plain_file_is_mapped_and_a_packed_one_unpacked(tmp_path: Path) -> None:
    thing = remote(CONTENT, gzipped=True)
    (tmp_path / "thing").write_bytes(CONTENT)
    (tmp_path / "thing.gz").write_bytes(PACKED)
    plain = read_verified(thing, tmp_path / "thing")
    assert isinstance(plain, mmap.mmap)
    assert plain[:] == CONTENT
    assert read_verified(thing, tmp_path / "thing.gz") == CONTENT


@given(content=st.binary(max_size=200), packed=st.booleans(), data=st.data())
def test_any_content_survives_and_any_change_is_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, packed: bool, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("roundtrip")
    thing = remote(content, gzipped=packed)
    path = folder / "stored"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert read_verified(thing, path)[:] == content
    install(thing, path, folder / "out")
    assert (folder / "out" / "thing").read_bytes() == content

    changed = bytearray(content or b"\0")
    if content:
        changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(gzip.compress(changed) if packed else bytes(changed))
    (folder / "out" / "thing").unlink()
    with pytest.raises(DataError):
        install(thing, path, folder / "out")
    assert list((folder / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (CONTENT[:-1], "holds 300,006 bytes, expected 300,007"),
        (CONTENT + b"\0", "holds 300,008 bytes, expected 300,007"),
        (b"", "holds 0 bytes"),
        (gzip.compress(CONTENT[:-1]), "holds 300,006 bytes"),
        (gzip.compress(CONTENT + b"more"), "holds 300,008 bytes"),
        (gzip.compress(CONTENT[::-1]), hashlib.sha256(CONTENT[::-1]).hexdigest()[:12]),
        (PACKED[:-9], "damaged gzip"),
        (PACKED + b"tail", "damaged gzip"),
    ],
)
def test_damaged_copies_are_named_with_a_remedy(tmp_path: Path, stored: bytes, words: str) -> None:
    (tmp_path / "copy").write_bytes(stored)
    with pytest.raises(DataError, match=f"copy.*{words}") as caught:
        read_verified(remote(CONTENT, "http://example.test/x", gzipped=True), tmp_path / "copy")
    assert "fetch it again from http://example.test/x" in caught.value.remedy


# --- downloads ------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_the_file_is_shown_only_once_verified(server: Any, tmp_path: Path, packed: bool) -> None:
    body = PACKED if packed else CONTENT
    server.script = [{"body": body}]
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        assert not (tmp_path / "new" / "thing").exists()
        seen.append((done, total))

    thing = remote(CONTENT, server.url, gzipped=packed)
    final = download(thing, tmp_path / "new", progress=progress)
    assert final == tmp_path / "new" / "thing"
    assert final.read_bytes() == CONTENT
    assert left_in(tmp_path / "new") == {"thing"}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (len(body), len(body))
    assert server.asked[0]["Accept-Encoding"] == "identity"


def test_an_intact_file_is_not_fetched_and_a_damaged_one_is_replaced(
    server: Any, tmp_path: Path
) -> None:
    thing = remote(CONTENT, server.url)
    (tmp_path / "thing").write_bytes(CONTENT)
    download(thing, tmp_path)
    assert server.asked == []
    (tmp_path / "thing").write_bytes(CONTENT[::-1])
    assert download(thing, tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_cut_is_continued_where_it_ended(
    server: Any, tmp_path: Path, sleeps: list[float]
) -> None:
    server.script = [{"cut_after": 100_003}, {"cut_after": 50_021}, {}]
    final = download(remote(CONTENT, server.url), tmp_path)
    assert final.read_bytes() == CONTENT
    assert server.ranges_asked == [None, "bytes=100003-", "bytes=150024-"]
    assert len(sleeps) == 2


def test_a_later_call_continues_what_an_earlier_one_left(server: Any, tmp_path: Path) -> None:
    thing = remote(CONTENT, server.url, gzipped=True)
    server.script = [{"body": PACKED, "cut_after": 70_001}, {"body": PACKED}]
    with pytest.raises(DownloadError, match="after 1 attempt"):
        download(thing, tmp_path, policy=RetryPolicy(attempts=1))
    assert left_in(tmp_path) == {"thing.part"}
    seen: list[tuple[int, int]] = []
    download(thing, tmp_path, progress=lambda *step: seen.append(step))
    assert server.ranges_asked == [None, "bytes=70001-"]
    assert seen[0][0] > 70_001
    assert seen[-1] == (len(PACKED), len(PACKED))
    assert left_in(tmp_path) == {"thing"}


def test_a_process_that_dies_leaves_no_file(server: Any, tmp_path: Path) -> None:
    def die(done: int, total: int) -> None:
        raise KeyboardInterrupt

    thing = remote(CONTENT, server.url)
    with pytest.raises(KeyboardInterrupt):
        download(thing, tmp_path, progress=die)
    assert "thing" not in left_in(tmp_path)
    assert download(thing, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("second", "ranges"),
    [
        ({"ranges": False}, [None, "bytes=9999-"]),
        ({}, [None, "bytes=9999-", None]),
        ({"content_range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"}, None),
        ({"content_range": "nonsense"}, None),
        ({"status": 416, "body": b""}, None),
    ],
    ids=["server ignores Range", "two versions", "wrong start", "no range", "416"],
)
@pytest.mark.usefixtures("sleeps")
def test_what_does_not_fit_together_starts_over(
    server: Any, tmp_path: Path, second: dict[str, Any], ranges: list[str | None] | None
) -> None:
    server.script = [{"body": b"x" * len(CONTENT), "cut_after": 9_999}, second, {}]
    assert download(remote(CONTENT, server.url), tmp_path).read_bytes() == CONTENT
    assert server.ranges_asked == (ranges or [None, "bytes=9999-", None])


def test_retries_wait_longer_and_longer_and_are_bounded(
    server: Any, tmp_path: Path, sleeps: list[float]
) -> None:
    server.script = [{"status": 500}, {"status": 429}, {"status": 503}]
    with pytest.raises(DownloadError, match="answered 503, after 4 attempts"):
        download(remote(CONTENT, server.url), tmp_path, policy=RetryPolicy(attempts=4))
    for wait, longest in zip(sleeps, (0.5, 1.0, 2.0), strict=True):
        assert longest / 2 <= wait <= longest
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("99999", 30.0)])
def test_the_wait_that_the_server_asks_for(
    server: Any, tmp_path: Path, sleeps: list[float], asked: str, waited: float
) -> None:
    server.script = [{"status": 429, "headers": {"Retry-After": asked}}, {}]
    download(remote(CONTENT, server.url), tmp_path)
    assert sleeps == [waited]


def test_a_silent_server_is_given_up_and_asked_again(server: Any, tmp_path: Path) -> None:
    server.script = [{"stall_seconds": 0.5}, {}]
    policy = RetryPolicy(timeout_seconds=0.1, first_wait_seconds=0)
    download(remote(CONTENT, server.url), tmp_path, policy=policy)
    assert len(server.asked) == 2


def test_a_missing_file_is_asked_of_the_next_address(server: Any, tmp_path: Path) -> None:
    server.script = [{"status": 404}, {}]
    download(remote(CONTENT, server.url, f"{server.url}/mirror"), tmp_path)
    assert [request["path"] for request in server.asked] == ["/thing", "/thing/mirror"]


@pytest.mark.parametrize("packed", [False, True])
def test_wrong_bytes_are_deleted_and_named(server: Any, tmp_path: Path, packed: bool) -> None:
    wrong = CONTENT[::-1]
    server.script = [{"body": gzip.compress(wrong) if packed else wrong}]
    with pytest.raises(DownloadError, match=hashlib.sha256(wrong).hexdigest()[:12]) as caught:
        download(remote(CONTENT, server.url, gzipped=packed), tmp_path)
    assert server.url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.asked) == 1
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("packed", [False, True])
def test_too_many_bytes_are_cut_off(server: Any, tmp_path: Path, packed: bool) -> None:
    server.script = [{"body": CONTENT * 40, "length": False}]
    taken = [0]
    with pytest.raises(DownloadError, match="sends more than the"):
        download(
            remote(CONTENT, server.url, gzipped=packed),
            tmp_path,
            progress=lambda done, _: taken.append(done),
        )
    assert max(taken) <= len(CONTENT) + 5_000
    assert left_in(tmp_path) == set()


def test_an_absent_network_fails_at_once(refused: str, tmp_path: Path, sleeps: list[float]) -> None:
    begun = time.monotonic()
    with pytest.raises(DownloadError, match=r"after 2 attempts.*check the network"):
        download(remote(CONTENT, refused, f"{refused}2"), tmp_path)
    assert len(sleeps) == 2
    assert sum(sleeps) <= 1.0
    assert time.monotonic() - begun < 3


def test_redirects_are_followed_but_not_out_of_the_web(server: Any, tmp_path: Path) -> None:
    away = {"status": 302, "body": b"", "headers": {"Location": "ftp://example.test/thing"}}
    moved = {"status": 302, "body": b"", "headers": {"Location": f"{server.url}/moved"}}
    server.script = [away, moved, {}]
    thing = remote(CONTENT, server.url)
    with pytest.raises(DownloadError, match="ftp"):
        download(thing, tmp_path)
    assert len(server.asked) == 1
    assert download(thing, tmp_path).read_bytes() == CONTENT


def test_the_lock_of_another_process_is_respected(server: Any, tmp_path: Path) -> None:
    thing = remote(CONTENT, server.url)
    with (
        filelock.FileLock(tmp_path / ".thing.lock"),
        pytest.raises(DownloadError, match="another process"),
    ):
        download(thing, tmp_path, policy=RetryPolicy(lock_timeout_seconds=0.1))
    assert server.asked == []


def test_two_at_once_fetch_once(server: Any, tmp_path: Path) -> None:
    thing = remote(CONTENT, server.url)
    server.script = [{"stall_seconds": 0.2}]
    threads = [threading.Thread(target=download, args=(thing, tmp_path)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 1
    assert (tmp_path / "thing").read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written(server: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"cannot write .*QKV_CACHE"):
        download(remote(CONTENT, server.url), tmp_path / "file" / "folder")


def test_an_unusable_proxy_is_named(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "nonsense://proxy.test")
    with pytest.raises(DownloadError, match="proxy settings"):
        download(remote(CONTENT, server.url), tmp_path)
