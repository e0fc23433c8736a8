"""Places: the nearest that has the data is used, and every failure is one line."""

from __future__ import annotations

import gzip
import hashlib
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from qkv.data.download import RemoteFile
from qkv.data.locate import DatasetFiles, DebianPackage, fetch_debian, hub_files, locate_files
from qkv.errors import DataError, DownloadError, MissingExtraError
from small_hub import COMMIT, SmallHub

CONTENT = random.Random(1).randbytes(300_007)  # what the stand-in package holds
FIRST, SECOND = CONTENT[:1_009], CONTENT[1_009:3_000]


def remote(name: str, content: bytes, *urls: str) -> RemoteFile:
    digest = hashlib.sha256(content).hexdigest()
    return RemoteFile(name, digest, len(content), urls, gzipped=True)


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# --- files known by their hash --------------------------------------------------------------


@dataclass
class World:
    """Every place in which a data set of two files may be found."""

    files: DatasetFiles
    cache: Path
    system: Path
    own: Path

    @staticmethod
    def fill(folder: Path, first: bytes = FIRST, second: bytes = SECOND) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "first").write_bytes(first)
        (folder / "second.gz").write_bytes(gzip.compress(second))


@pytest.fixture
def world(server: Any, tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("QKV_CACHE", str(tmp_path / "cache"))
    tools.apt('echo "E: Could not resolve" >&2; exit 100')
    system = tmp_path / "system"
    files = DatasetFiles(
        name="pair",
        title="The Pair",
        files=(
            remote("first", FIRST, f"{server.url}/1"),
            remote("second", SECOND, f"{server.url}/2"),
        ),
        package=DebianPackage("dataset-pair", system),
    )
    server.script = [{"status": 404}]
    return World(files, tmp_path / "cache" / "pair", system, tmp_path / "own")


def check(world: World, source: str, folder: Path | None = None) -> tuple[str, ...]:
    located = locate_files(world.files, folder)
    assert source in located.source
    assert {name: content[:] for name, content in located.content.items()} == {
        "first": FIRST,
        "second": SECOND,
    }
    assert all(path.is_file() for path in located.files.values())
    return located.notes


def test_the_order_of_places(world: World, server: Any) -> None:
    world.fill(world.system)
    assert check(world, f"Debian package dataset-pair: {world.system}") == ()
    world.fill(world.cache)
    assert check(world, f"cache: {world.cache}") == ()
    world.fill(world.own)
    check(world, f"folder {world.own}", world.own)
    assert server.asked == []


def test_a_download_goes_to_the_cache(world: World, server: Any) -> None:
    server.script = [{"body": gzip.compress(FIRST)}, {"body": gzip.compress(SECOND)}]
    seen: list[tuple[int, int]] = []
    located = locate_files(world.files, progress=lambda *step: seen.append(step))
    assert located.source == "official download"
    assert {path.name for path in world.cache.glob("[!.]*")} == {"first", "second"}
    assert seen == sorted(seen)
    assert seen[-1] == (3_000, 3_000)
    assert {total for _, total in seen} == {3_000}
    check(world, "cache: ")
    assert len(server.asked) == 2


def test_the_debian_package_is_the_last_resort(world: World, tools: Any, server: Any) -> None:
    inside = world.system.as_posix()
    tools.pack({f".{inside}/first.gz": gzip.compress(FIRST), f".{inside}/second": SECOND})
    tools.apt(f"cp {tools.archive} x.deb")
    check(world, "Debian package dataset-pair")
    assert len(server.asked) == 1


def test_nothing_anywhere_says_what_to_do(world: World, server: Any) -> None:
    with pytest.raises(DownloadError) as caught:
        locate_files(world.files)
    text = str(caught.value)
    for words in (
        "The Pair is not on this machine and could not be fetched",
        "answered 404",
        "Could not resolve",
        "apt-get install dataset-pair",
        f"{server.url}/1",
        f"{server.url}/2",
        "--data FOLDER",
    ):
        assert words in text
    assert "\n" not in text
    assert len(server.asked) == 1, "the other files are not tried once one is out of reach"
    bare = replace(
        world.files, files=tuple(replace(each, urls=()) for each in world.files.files), package=None
    )
    with pytest.raises(DownloadError, match=r"it has no address.*--data FOLDER"):
        locate_files(bare)


def test_a_damaged_copy_is_passed_over_and_noted(world: World, server: Any) -> None:
    world.fill(world.cache, first=FIRST[::-1])
    world.fill(world.system, second=b"something else")
    server.script = [{"body": gzip.compress(FIRST)}, {"body": gzip.compress(SECOND)}]
    first, second = check(world, "official download")
    assert str(world.cache / "first") in first
    assert str(world.system / "second.gz") in second
    assert check(world, "cache: ") == ()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda own: (own / "second.gz").unlink(), r"lacks second\[\.gz\] of The Pair"),
        (lambda own: (own / "first").write_bytes(FIRST[::-1]), "first is not first: .*sha256"),
    ],
)
def test_a_named_folder_is_the_only_place_looked_at(
    world: World, server: Any, spoil: Callable[[Path], object], words: str
) -> None:
    world.fill(world.cache)
    world.fill(world.own)
    spoil(world.own)
    with pytest.raises(DataError, match=words) as caught:
        locate_files(world.files, world.own)
    assert not isinstance(caught.value, DownloadError)
    assert server.url in caught.value.remedy
    assert server.asked == []


def test_a_named_folder_that_is_none(world: World, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        locate_files(world.files, tmp_path / "nowhere")
    (tmp_path / "plain").write_text("")
    with pytest.raises(DataError, match="is not a folder"):
        locate_files(world.files, tmp_path / "plain")


# --- Debian packages ------------------------------------------------------------------------

PACKAGE = DebianPackage("x", Path("/usr/share/x"))
THING = remote("thing", CONTENT)


def test_a_package_gives_the_file_and_nothing_else(tools: Any, tmp_path: Path) -> None:
    fetch_debian(PACKAGE, [THING], tmp_path / "out")
    assert names_in(tmp_path / "out") == {"thing"}
    assert (tmp_path / "out" / "thing").read_bytes() == CONTENT
    assert tools.steps == ["download"]


def test_package_lists_are_fetched_privately_when_missing(tools: Any, tmp_path: Path) -> None:
    tools.apt(
        f'case "$*" in *update*) exit 0;; *Dir::State::lists*) cp {tools.archive} x.deb; exit 0;; '
        '*) echo "E: Unable to locate package x" >&2; exit 100;; esac'
    )
    fetch_debian(PACKAGE, [THING], tmp_path / "out")
    assert tools.steps == ["download", "update", "download"]


@pytest.mark.parametrize(
    ("apt", "words", "steps"),
    [
        ("echo \"E: Could not resolve 'host'\" >&2; exit 100", "Could not resolve", 1),
        ('echo "E: Unable to locate package x" >&2; exit 100', "Unable to locate", 2),
        ("exit 3", "apt-get: exit code 3", 2),
        ("exit 0", "dpkg-deb: ", 1),
        ("printf nonsense > x.deb", "dpkg-deb: ", 1),
    ],
)
def test_failures_of_the_tools_are_told(
    tools: Any, tmp_path: Path, apt: str, words: str, steps: int
) -> None:
    tools.apt(apt)
    with pytest.raises(DownloadError, match=words) as caught:
        fetch_debian(PACKAGE, [THING], tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert "apt-get install x" in caught.value.remedy
    assert len(tools.steps) == steps
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"./usr/share/other/thing": CONTENT}, "usr/share/x/thing is not in it"),
        ({"./usr/share/x/thing": None}, "thing holds|is not thing|is not in it"),
        ({"./usr/share/x/thing": CONTENT[::-1]}, "sha256"),
    ],
)
def test_a_package_with_other_content(
    tools: Any, tmp_path: Path, members: dict[str, bytes | None], words: str
) -> None:
    tools.pack(members)
    with pytest.raises(DownloadError, match=words):
        fetch_debian(PACKAGE, [THING], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_tools_have_a_time_limit_and_may_be_absent(
    tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools.apt("exec sleep 20")
    begun = time.monotonic()
    with pytest.raises(DownloadError, match=r"took over 0\.2 s"):
        fetch_debian(PACKAGE, [THING], tmp_path / "out", timeout_seconds=0.2)
    assert time.monotonic() - begun < 5
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match="apt-get is not on this machine"):
        fetch_debian(PACKAGE, [THING], tmp_path / "out")


# --- the hub --------------------------------------------------------------------------------

FILES = {"config.json": b'{"a": 1}', "deep/down/words.txt": b"words", "big.bin": b"x" * 5000}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    small = SmallHub("people/thing", FILES).use(monkeypatch, tmp_path / "hub")
    yield small
    small.close()


def test_only_what_matches_is_fetched_and_once(hub: SmallHub, tmp_path: Path) -> None:
    got = hub_files("people/thing", ["config.json", "deep/*"], revision=None)
    assert got.name == COMMIT
    assert names_in(got) == {"config.json", "deep/down/words.txt"}
    assert (got / "deep/down/words.txt").read_bytes() == b"words"
    assert got.is_relative_to(tmp_path / "hub")
    asked = len(hub.asked)
    more = hub_files("people/thing", ["*"], revision=COMMIT)
    assert names_in(more) == set(FILES)
    fetched = {each.split("/")[-1] for each in hub.asked[asked:] if "GET" in each}
    assert "big.bin" in fetched
    assert not {"config.json", "words.txt"} & fetched


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_what_was_fetched_is_found_without_the_hub(hub: SmallHub, revision: str | None) -> None:
    first = hub_files("people/thing", ["config.json"], revision=revision)
    asked = len(hub.asked)
    assert hub_files("people/thing", ["config.json"], revision=revision, local_only=True) == first
    assert len(hub.asked) == asked
    with pytest.raises(DownloadError, match="no file called|holds it in part"):
        hub_files("people/thing", ["big.bin"], revision=revision, local_only=True)
    hub.close()
    assert hub_files("people/thing", ["config.json"], revision=revision) == first


def test_offline_by_the_hubs_own_variable(hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="not in the hub's cache and the network was not"):
        hub_files("people/thing", ["config.json"], revision=None)
    assert hub.asked == []


def test_a_data_set_is_in_a_name_space_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = SmallHub("people/thing", FILES, kind="dataset").use(monkeypatch, tmp_path)
    try:
        got = hub_files("people/thing", ["config.json"], revision=COMMIT, kind="dataset")
        assert names_in(got) == {"config.json"}
        with pytest.raises(DownloadError, match=r"the model people/thing .*no such repository"):
            hub_files("people/thing", ["config.json"], revision=None)
    finally:
        hub.close()


@pytest.mark.parametrize(
    ("repository", "revision", "words"),
    [
        ("people/other", None, "the hub has no such repository"),
        ("people/thing", "v9", "the model people/thing at revision v9 .*no such revision"),
        ("../thing", None, "the hub allows no such name"),
        ("people/thing/more", None, "the hub allows no such name"),
    ],
)
def test_wrong_names(hub: SmallHub, repository: str, revision: str | None, words: str) -> None:
    with pytest.raises(DownloadError, match=words) as error:
        hub_files(repository, ["config.json"], revision=revision)
    assert "\n" not in str(error.value)


def test_a_repository_without_the_files(hub: SmallHub) -> None:
    with pytest.raises(DownloadError, match=r"it has no file called \*\.safetensors, x there"):
        hub_files("people/thing", ["*.safetensors", "x"], revision=None)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("revision", [None, COMMIT])
def test_an_unreachable_hub(hub: SmallHub, revision: str | None) -> None:
    hub.close()
    with pytest.raises(DownloadError, match="could not be reached: .*refused") as error:
        hub_files("people/thing", ["config.json"], revision=revision)
    assert "name a local folder" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "GatedRepo", "accept its terms there and set HF_TOKEN"),
        (418, None, "could not be reached: .*418"),
    ],
)
def test_a_hub_that_refuses(hub: SmallHub, status: int, code: str | None, words: str) -> None:
    hub.status, hub.error_code = status, code
    with pytest.raises(DownloadError, match=words) as error:
        hub_files("people/thing", ["config.json"], revision=None)
    assert "\n" not in str(error.value)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"the model a/b .*pip install 'qkv\[text\]'"):
        hub_files("a/b", ["config.json"], revision=None)
