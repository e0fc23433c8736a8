"""IMDB from the cache, a server of the official archive, and the hub."""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import filelock
import pytest

from imdb_forms import NAME, archive, facts_of, made_up_reviews, write_parquet
from qkv.errors import DataError, DownloadError, RunError
from qkv.sources import ArchiveLimits, Patience
from qkv.text.imdb import ImdbFacts, LocatedReviews, load, locate
from qkv.text.imdb.reviews import gather
from small_hub import SmallHub

CONTENT = archive(made_up_reviews())
REVIEWS = gather(made_up_reviews(), facts_of(), where="here", remedy="none")
REVISION = "0123456789abcdef0123456789abcdef01234567"


class Server:
    """Serves one body at every address, cut short if it is told to."""

    def __init__(self) -> None:
        self.body = CONTENT
        self.cut_after: int | None = None
        self.status = 200
        self.requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body[: outer.cut_after])

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/{NAME}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    running = Server()
    yield running
    running.close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QKV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "imdb"


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def check(found: LocatedReviews) -> None:
    assert found.reviews == REVIEWS
    assert all(path.exists() for path in found.files.values())


# --- the official archive -------------------------------------------------------------------


def test_fetched_once_and_kept_as_one_file(server: Server, cache: Path) -> None:
    facts = facts_of(CONTENT, server.url)
    told: list[tuple[int, int]] = []
    first = locate(progress=lambda done, total: told.append((done, total)), facts=facts)
    check(first)
    assert first.source == "official archive"
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert visible(cache) == ["reviews.jsonl.gz"]

    second = locate(facts=facts)
    check(second)
    assert second.source.startswith("cache: ")
    assert second.source.endswith("from the official archive")
    assert server.requests == 1


def test_load_gives_the_same_from_archive_and_cache(server: Server, cache: Path) -> None:
    facts = facts_of(CONTENT, server.url)
    first, second = load(facts=facts), load(facts=facts)
    assert first.train.texts == second.train.texts == REVIEWS.split("train").texts
    assert first.sha256 == second.sha256


def test_a_cut_connection(server: Server, cache: Path) -> None:
    facts = facts_of(CONTENT, server.url)
    server.cut_after = 700
    with pytest.raises(DownloadError, match="after 2 attempts") as error:
        locate(facts=facts)
    assert "\n" not in str(error.value)
    assert f"download {server.url} into a folder and pass --data FOLDER" in str(error.value)
    assert "reviews.jsonl.gz" not in visible(cache)
    server.cut_after = None
    check(locate(facts=facts))


def test_other_bytes(server: Server, cache: Path) -> None:
    server.body = archive(made_up_reviews(), tarfile.TarInfo("more"))
    with pytest.raises(DownloadError, match="IMDB is not on this machine .*(wrong|sends more)"):
        locate(facts=facts_of(CONTENT, server.url))
    assert visible(cache) == []


def evil(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def big(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (evil("aclImdb/train/pos/99_9.txt", tarfile.SYMTYPE, "/etc/passwd"), "neither a regular"),
        (evil("aclImdb/train/pos/99_9.txt", tarfile.LNKTYPE, "aclImdb/README"), "neither"),
        (evil("aclImdb/null", tarfile.CHRTYPE), "neither a regular"),
        (evil("aclImdb/pipe", tarfile.FIFOTYPE), "neither a regular"),
        (evil("../../evil.txt", tarfile.REGTYPE), "not a plain relative name"),
        (evil("/tmp/evil.txt", tarfile.REGTYPE), "not a plain relative name"),
        (evil("aclImdb/train/pos/0_0/../../x", tarfile.REGTYPE), "not a plain relative name"),
        (evil("aclImdb/train/neg/0_2.txt", tarfile.REGTYPE), "is in it twice"),
        (big("aclImdb/train/pos/99_9.txt", 10_001), "has more than 10,000 B"),
        (big("aclImdb/zeros.feat", 2_000_000), "holds more than 1,000,000 bytes"),
        (big("aclImdb/train/pos/99_9.txt", 5), "6 neg and 7 pos"),
    ],
    ids=lambda value: f"{value.name}-{value.type!r}" if isinstance(value, tarfile.TarInfo) else "",
)
def test_an_evil_archive_with_the_right_hash(
    server: Server, cache: Path, tmp_path: Path, member: tarfile.TarInfo, words: str
) -> None:
    server.body = archive(made_up_reviews(), member)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DownloadError, match=words) as error:
        locate(facts=facts_of(server.body, server.url))
    assert "\n" not in str(error.value)
    new = {path.name for path in set(tmp_path.rglob("*")) - before if path.is_file()}
    assert new <= {NAME, f".{NAME}.lock", ".fetching.lock"}


def test_too_many_members(server: Server, cache: Path) -> None:
    facts = facts_of(CONTENT, server.url)
    few = ImdbFacts(facts.archive, ArchiveLimits(20, 10_000, 1_000_000), facts.reviews_per_class)
    with pytest.raises(DownloadError, match="more than 20 members"):
        locate(facts=few)


def test_an_archive_that_holds_less(server: Server, cache: Path) -> None:
    pairs = made_up_reviews()
    pairs["test"].pop()
    server.body = archive(pairs)
    with pytest.raises(DownloadError, match="test of IMDB has 6 neg and 5 pos"):
        locate(facts=facts_of(server.body, server.url))


def test_only_expected_names_are_taken(server: Server, cache: Path) -> None:
    strange = [
        big(f"aclImdb/{name}", 3)
        for name in ("train/pos/a_1.txt", "train/pos/1_1.text", "valid/pos/1_1.txt")
    ]
    server.body = archive(made_up_reviews(), *strange, big("other/train/pos/1_1.txt", 3))
    check(locate(facts=facts_of(server.body, server.url)))


# --- the cache ------------------------------------------------------------------------------


def test_a_damaged_cache_is_replaced(server: Server, cache: Path) -> None:
    facts = facts_of(CONTENT, server.url)
    path = locate(facts=facts).files["reviews"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    found = locate(facts=facts)
    check(found)
    assert len(found.notes) == 1
    assert "passed over a damaged copy" in found.notes[0]
    assert path.read_bytes() == whole
    assert locate(facts=facts).notes == ()


def test_without_any_way(cache: Path) -> None:
    with pytest.raises(DownloadError, match="could not be fetched .it has no address."):
        locate(facts=facts_of())


def test_without_the_network(server: Server, cache: Path) -> None:
    facts = facts_of(CONTENT, server.url)
    with pytest.raises(DownloadError, match="IMDB is not on this machine"):
        load(local_only=True, facts=facts)
    assert server.requests == 0
    load(facts=facts)
    assert len(load(local_only=True, facts=facts).train) == 12


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("QKV_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="cannot write to .*set QKV_CACHE"):
        locate(facts=facts_of())


def test_a_disk_that_fills(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qkv.runs.os.fsync", full)
    with pytest.raises((RunError, DownloadError), match="No space left on device"):
        locate(facts=facts_of(CONTENT, server.url))
    assert "reviews.jsonl.gz" not in visible(cache)


def test_one_process_fetches(server: Server, cache: Path) -> None:
    facts = facts_of(CONTENT, server.url)
    impatient = ImdbFacts(
        facts.archive,
        facts.limits,
        facts.reviews_per_class,
        patience=Patience(lock_timeout_seconds=0.05),
    )
    cache.mkdir(parents=True)
    with (
        filelock.FileLock(cache / ".fetching.lock"),
        pytest.raises(DownloadError, match="another process has been fetching IMDB"),
    ):
        locate(facts=impatient)
    found: list[LocatedReviews] = []
    threads = [threading.Thread(target=lambda: found.append(locate(facts=facts))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert server.requests == 1
    for each in found:
        check(each)


# --- the hub --------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    write_parquet(tmp_path / "served", made_up_reviews())
    files = {
        f"plain_text/{path.name}": path.read_bytes() for path in (tmp_path / "served").iterdir()
    }
    files["README.md"] = b"read"
    files["plain_text/unsupervised-00000-of-00001.parquet"] = b"not wanted"
    small = SmallHub("people/imdb", files, kind="dataset").use(monkeypatch, tmp_path / "hub")
    yield small
    small.close()


def test_the_hub_when_the_archive_is_not_to_be_had(
    server: Server, hub: SmallHub, cache: Path
) -> None:
    server.status = 404
    facts = facts_of(CONTENT, server.url, repository="people/imdb", revision=REVISION)
    found = locate(facts=facts)
    check(found)
    assert found.source == "hub"
    assert not any("unsupervised" in path or "README" in path for path in hub.asked)
    hub.close()
    check(locate(facts=facts))


def test_the_hubs_cache_comes_before_any_network(
    server: Server, hub: SmallHub, cache: Path
) -> None:
    facts = facts_of(CONTENT, repository="people/imdb", revision=REVISION)
    locate(facts=facts)
    (cache / "reviews.jsonl.gz").unlink()
    asked = len(hub.asked)
    both = facts_of(CONTENT, server.url, repository="people/imdb", revision=REVISION)
    found = locate(local_only=True, facts=both)
    check(found)
    assert found.source == "hub's cache"
    assert len(hub.asked) == asked
    assert server.requests == 0


def test_nothing_can_be_reached(server: Server, hub: SmallHub, cache: Path) -> None:
    server.status = 404
    hub.close()
    facts = facts_of(CONTENT, server.url, repository="people/imdb", revision=REVISION)
    with pytest.raises(DownloadError, match="answered 404.*hub could not be reached") as error:
        locate(facts=facts)
    assert "\n" not in str(error.value)
    assert str(error.value).count("people/imdb") == 1


def test_wrong_files_on_the_hub(hub: SmallHub, cache: Path) -> None:
    name = "plain_text/train-00000-of-00001.parquet"
    hub.files[name] = hub.files[name][:-9]
    with pytest.raises(DownloadError, match="damaged Parquet file"):
        locate(facts=facts_of(repository="people/imdb", revision=REVISION))


def test_a_file_that_the_hub_lacks(hub: SmallHub, cache: Path) -> None:
    del hub.files["plain_text/train-00000-of-00001.parquet"]
    with pytest.raises(DataError, match="lacks a Parquet file of IMDB"):
        locate(facts=facts_of(repository="people/imdb", revision=REVISION))
