"""Downloads: nothing unverified is ever shown, and a bad network is survived or named."""

from __future__ import annotations

import gzip
import hashlib
import random
import threading
import time
from pathlib import Path
from typing import Any

import filelock
import pytest

from qkv.errors import DownloadError
from qkv.sources import Artefact, Patience, download

CONTENT = random.Random(1).randbytes(300_007)  # what the server serves by default
PACKED = gzip.compress(CONTENT, mtime=0)
ETAG = '"v1"'


def make_artefact(
    content: bytes, *urls: str, name: str = "thing", packed: bool = False
) -> Artefact:
    digest = hashlib.sha256(content).hexdigest()
    return Artefact(name, digest, len(content), urls, "gzip" if packed else None)


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".thing.lock"}


@pytest.mark.parametrize("packed", [False, True])
def test_download_shows_the_file_only_once_verified(
    server: Any, tmp_path: Path, packed: bool
) -> None:
    body = PACKED if packed else CONTENT
    server.script = [{"body": body}]
    thing = make_artefact(CONTENT, server.url, packed=packed)
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        assert not (tmp_path / "new" / "thing").exists()
        seen.append((done, total))

    final = download(thing, tmp_path / "new", progress=progress)
    assert final == tmp_path / "new" / "thing"
    assert final.read_bytes() == CONTENT
    assert left_in(tmp_path / "new") == {"thing"}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (len(body), len(body))
    assert server.asked[0]["Accept-Encoding"] == "identity"


def test_intact_file_is_not_fetched_and_damaged_one_is_replaced(
    server: Any, tmp_path: Path
) -> None:
    thing = make_artefact(CONTENT, server.url)
    (tmp_path / "thing").write_bytes(CONTENT)
    download(thing, tmp_path)
    assert server.asked == []
    (tmp_path / "thing").write_bytes(CONTENT[::-1])
    assert download(thing, tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_cut_is_continued_where_it_ended(server: Any, tmp_path: Path) -> None:
    server.script = [{"cut_after": 100_003}, {"cut_after": 50_021}, {}]
    sleeps: list[float] = []
    final = download(make_artefact(CONTENT, server.url), tmp_path, sleep=sleeps.append)
    assert final.read_bytes() == CONTENT
    assert server.ranges_asked == [None, "bytes=100003-", "bytes=150024-"]
    assert [request.get("If-Range") for request in server.asked] == [None, ETAG, ETAG]
    assert len(sleeps) == 2


def test_later_call_continues_what_an_earlier_one_left(server: Any, tmp_path: Path) -> None:
    thing = make_artefact(CONTENT, server.url, packed=True)
    server.script = [{"body": PACKED, "cut_after": 70_001}, {"body": PACKED}]
    with pytest.raises(DownloadError, match="after 1 attempt"):
        download(thing, tmp_path, patience=Patience(attempts=1))
    assert left_in(tmp_path) == {"thing.part", "thing.part.json"}
    seen: list[tuple[int, int]] = []
    download(thing, tmp_path, progress=lambda *step: seen.append(step))
    assert server.ranges_asked == [None, "bytes=70001-"]
    assert seen[0][0] > 70_001
    assert seen[-1] == (len(PACKED), len(PACKED))
    assert left_in(tmp_path) == {"thing"}


def test_process_that_dies_leaves_no_file(server: Any, tmp_path: Path) -> None:
    class DeathError(Exception):
        pass

    def die(done: int, total: int) -> None:
        raise DeathError

    thing = make_artefact(CONTENT, server.url)
    with pytest.raises(DeathError):
        download(thing, tmp_path, progress=die)
    assert "thing" not in left_in(tmp_path)
    assert download(thing, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "second",
    [
        {"ranges": False},
        {"etag": '"v2"'},
    ],
    ids=["server ignores Range", "file has changed"],
)
def test_full_answer_to_a_resumed_request_starts_over(
    server: Any, tmp_path: Path, second: dict[str, Any]
) -> None:
    server.script = [{"body": b"x" * len(CONTENT), "cut_after": 9_999}, second]
    final = download(make_artefact(CONTENT, server.url), tmp_path, sleep=lambda _: None)
    assert final.read_bytes() == CONTENT
    assert server.ranges_asked == [None, "bytes=9999-"]


@pytest.mark.parametrize(
    "second",
    [
        {"content_range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"},
        {"content_range": f"bytes 9999-20000/{len(CONTENT)}"},
        {"content_range": "nonsense"},
        {"status": 416, "body": b"", "headers": {"Content-Range": "bytes */5000"}},
        {
            "status": 206,
            "body": CONTENT[9_999:],
            "etag": '"v2"',
            "headers": {"Content-Range": f"bytes 9999-{len(CONTENT) - 1}/{len(CONTENT)}"},
        },
    ],
    ids=["wrong start", "wrong end", "no range", "416 of another size", "another tag"],
)
def test_answer_that_does_not_fit_starts_over(
    server: Any, tmp_path: Path, second: dict[str, Any]
) -> None:
    server.script = [{"cut_after": 9_999}, second, {}]
    final = download(make_artefact(CONTENT, server.url), tmp_path, sleep=lambda _: None)
    assert final.read_bytes() == CONTENT
    assert server.ranges_asked == [None, "bytes=9999-", None]


def test_halves_of_two_versions_are_thrown_away_once(server: Any, tmp_path: Path) -> None:
    old = b"x" * len(CONTENT)
    server.script = [{"body": old, "etag": None, "cut_after": 9_999}, {"etag": None}]
    final = download(make_artefact(CONTENT, server.url), tmp_path, sleep=lambda _: None)
    assert final.read_bytes() == CONTENT
    assert server.ranges_asked == [None, "bytes=9999-", None]
    assert "If-Range" not in server.asked[1]


@pytest.mark.parametrize("etag", ['W/"v1"', '"v\xe9"', "v1"])
def test_weak_or_odd_tag_is_not_relied_on(server: Any, tmp_path: Path, etag: str) -> None:
    server.script = [{"etag": etag, "cut_after": 9_999}, {"etag": etag}]
    download(make_artefact(CONTENT, server.url), tmp_path, sleep=lambda _: None)
    assert server.ranges_asked == [None, "bytes=9999-"]
    assert "If-Range" not in server.asked[1]


def test_whole_part_file_needs_no_more_bytes(server: Any, tmp_path: Path) -> None:
    thing = make_artefact(CONTENT, server.url)
    server.script = [{"cut_after": 9_999}, {}]
    with pytest.raises(DownloadError):
        download(thing, tmp_path, patience=Patience(attempts=1))
    (tmp_path / "thing.part").write_bytes(CONTENT)
    assert download(thing, tmp_path).read_bytes() == CONTENT
    assert server.ranges_asked == [None, f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("origin", ["", "[]", '{"url": "http://elsewhere.test/", "etag": null}'])
def test_part_file_of_unknown_origin_is_not_continued(
    server: Any, tmp_path: Path, origin: str
) -> None:
    (tmp_path / "thing.part").write_bytes(CONTENT[:9_999])
    (tmp_path / "thing.part.json").write_text(origin)
    download(make_artefact(CONTENT, server.url), tmp_path)
    assert server.ranges_asked == [None]


def test_server_errors_are_retried_with_growing_waits(server: Any, tmp_path: Path) -> None:
    server.script = [{"status": 500}, {"status": 429}, {"status": 503}, {}]
    sleeps: list[float] = []
    download(make_artefact(CONTENT, server.url), tmp_path, sleep=sleeps.append)
    assert len(server.asked) == 4
    for wait, longest in zip(sleeps, (0.5, 1.0, 2.0), strict=True):
        assert longest / 2 <= wait <= longest


def test_retries_are_bounded(server: Any, tmp_path: Path) -> None:
    server.script = [{"status": 503}]
    sleeps: list[float] = []
    with pytest.raises(DownloadError, match="answered 503, after 4 attempts"):
        download(
            make_artefact(CONTENT, server.url),
            tmp_path,
            patience=Patience(attempts=4),
            sleep=sleeps.append,
        )
    assert (len(server.asked), len(sleeps)) == (4, 3)
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("99999", 30.0)])
def test_wait_that_the_server_asks_for(
    server: Any, tmp_path: Path, asked: str, waited: float
) -> None:
    server.script = [{"status": 429, "headers": {"Retry-After": asked}}, {}]
    sleeps: list[float] = []
    download(make_artefact(CONTENT, server.url), tmp_path, sleep=sleeps.append)
    assert sleeps == [waited]


def test_silent_server_is_given_up_and_asked_again(server: Any, tmp_path: Path) -> None:
    server.script = [{"stall_seconds": 0.5}, {}]
    download(
        make_artefact(CONTENT, server.url),
        tmp_path,
        patience=Patience(read_timeout_seconds=0.1),
        sleep=lambda _: None,
    )
    assert len(server.asked) == 2


def test_missing_file_is_not_asked_for_again(server: Any, tmp_path: Path) -> None:
    server.script = [{"status": 404}, {}]
    thing = make_artefact(CONTENT, server.url, f"{server.url}/mirror")
    download(thing, tmp_path)
    assert [request["path"] for request in server.asked] == ["/thing", "/thing/mirror"]


@pytest.mark.parametrize("packed", [False, True])
def test_wrong_bytes_are_deleted_and_named(server: Any, tmp_path: Path, packed: bool) -> None:
    wrong = CONTENT[::-1]
    server.script = [{"body": gzip.compress(wrong) if packed else wrong}]
    with pytest.raises(DownloadError, match=hashlib.sha256(wrong).hexdigest()[:12]) as caught:
        download(make_artefact(CONTENT, server.url, packed=packed), tmp_path)
    assert server.url in str(caught.value)
    assert len(server.asked) == 1
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("length", [True, False], ids=["announced", "unannounced"])
@pytest.mark.parametrize("packed", [False, True])
def test_too_many_bytes_are_cut_off(
    server: Any, tmp_path: Path, length: bool, packed: bool
) -> None:
    server.script = [{"body": CONTENT * 40, "length": length}]
    taken = [0]
    with pytest.raises(DownloadError, match="sends more than the"):
        download(
            make_artefact(CONTENT, server.url, packed=packed),
            tmp_path,
            progress=lambda done, _: taken.append(done),
        )
    assert max(taken) <= (0 if length else len(CONTENT) + 5_000)
    assert left_in(tmp_path) == set()


def test_bomb_from_a_server_is_refused(server: Any, tmp_path: Path) -> None:
    server.script = [{"body": gzip.compress(bytes(64 << 20))}]
    with pytest.raises(DownloadError, match="more than the 300007 bytes"):
        download(make_artefact(CONTENT, server.url, packed=True), tmp_path)
    assert left_in(tmp_path) == set()


def test_absent_network_fails_at_once(refused: str, tmp_path: Path) -> None:
    sleeps: list[float] = []
    begun = time.monotonic()
    with pytest.raises(DownloadError, match="after 2 attempts"):
        download(make_artefact(CONTENT, refused, f"{refused}2"), tmp_path, sleep=sleeps.append)
    assert len(sleeps) == 2
    assert sum(sleeps) <= 1.0
    assert time.monotonic() - begun < 3
    assert left_in(tmp_path) == set()


def test_second_address_serves_when_the_first_does_not_answer(
    server: Any, refused: str, tmp_path: Path
) -> None:
    thing = make_artefact(CONTENT, refused, server.url)
    assert download(thing, tmp_path, sleep=lambda _: None).read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["ftp://example.test/x", "file:///etc/passwd", "/x", "http://"])
def test_only_web_addresses(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="not an http or https URL"):
        download(make_artefact(CONTENT, url), tmp_path)


def test_redirects_are_followed_but_not_out_of_the_web(server: Any, tmp_path: Path) -> None:
    away = {"status": 302, "body": b"", "headers": {"Location": "ftp://example.test/thing"}}
    moved = {"status": 302, "body": b"", "headers": {"Location": f"{server.url}/moved"}}
    server.script = [away, moved, {}]
    thing = make_artefact(CONTENT, server.url)
    with pytest.raises(DownloadError, match="ftp"):
        download(thing, tmp_path, sleep=lambda _: None)
    assert len(server.asked) == 1
    assert download(thing, tmp_path).read_bytes() == CONTENT


def test_lock_of_another_process_is_respected(server: Any, tmp_path: Path) -> None:
    thing = make_artefact(CONTENT, server.url)
    with (
        filelock.FileLock(tmp_path / ".thing.lock"),
        pytest.raises(DownloadError, match="another process"),
    ):
        download(thing, tmp_path, patience=Patience(lock_timeout_seconds=0.1))
    assert server.asked == []
    assert download(thing, tmp_path).read_bytes() == CONTENT


def test_two_at_once_fetch_once(server: Any, tmp_path: Path) -> None:
    thing = make_artefact(CONTENT, server.url)
    server.script = [{"stall_seconds": 0.2}]
    threads = [threading.Thread(target=download, args=(thing, tmp_path)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 1
    assert (tmp_path / "thing").read_bytes() == CONTENT


def test_folder_that_cannot_be_written(server: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"cannot write .*QKV_CACHE"):
        download(make_artefact(CONTENT, server.url), tmp_path / "file" / "folder")


def test_unusable_proxy_is_named(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "nonsense://proxy.test")
    with pytest.raises(DownloadError, match="proxy settings"):
        download(make_artefact(CONTENT, server.url), tmp_path)
