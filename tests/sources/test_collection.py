"""Collections: the nearest complete and intact copy is used, and failure says what to do."""

from __future__ import annotations

import gzip
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from qkv.errors import DataError, DownloadError
from qkv.sources import Artefact, Collection, DebianPackage, locate

CONTENT = random.Random(1).randbytes(3_000)
FIRST, SECOND = CONTENT[:1_009], CONTENT[1_009:3_000]


def make_artefact(
    content: bytes, *urls: str, name: str = "thing", packed: bool = False
) -> Artefact:
    digest = hashlib.sha256(content).hexdigest()
    return Artefact(name, digest, len(content), urls, "gzip" if packed else None)


@dataclass
class World:
    """Every place in which a collection of two artefacts may be found."""

    collection: Collection
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
    collection = Collection(
        name="pair",
        title="The Pair",
        artefacts=(
            make_artefact(FIRST, f"{server.url}/1", name="first"),
            make_artefact(SECOND, f"{server.url}/2", name="second", packed=True),
        ),
        package=DebianPackage("dataset-pair", system),
    )
    server.script = [{"status": 404}]
    return World(collection, tmp_path / "cache" / "pair", system, tmp_path / "own")


def check(world: World, source: str, folder: Path | None = None) -> tuple[str, ...]:
    located = locate(world.collection, folder)
    assert source in located.source
    assert {name: content[:] for name, content in located.contents.items()} == {
        "first": FIRST,
        "second": SECOND,
    }
    assert all(path.is_file() for path in located.files.values())
    return located.notes


def test_order_of_places(world: World, server: Any) -> None:
    for folder, source in (
        (world.system, "Debian package dataset-pair"),
        (world.cache, "cache: "),
    ):
        world.fill(folder)
        assert check(world, source) == ()
    world.fill(world.own)
    check(world, f"folder {world.own}", world.own)
    assert server.asked == []


def test_download_goes_to_the_cache(world: World, server: Any) -> None:
    server.script = [{"body": FIRST}, {"body": gzip.compress(SECOND)}]
    seen: list[tuple[int, int]] = []
    located = locate(world.collection, progress=lambda *step: seen.append(step))
    assert located.source.startswith("official download")
    assert {path.name for path in world.cache.glob("[!.]*")} == {"first", "second"}
    assert seen == sorted(seen)
    assert seen[-1] == (3_000, 3_000)
    assert {total for _, total in seen} == {3_000}
    check(world, "cache: ")
    assert len(server.asked) == 2


def test_debian_package_is_the_last_resort(world: World, tools: Any, server: Any) -> None:
    inside = world.system.as_posix()
    tools.pack({f".{inside}/first.gz": gzip.compress(FIRST), f".{inside}/second": SECOND})
    tools.apt(f"cp {tools.archive} x.deb")
    check(world, "Debian package dataset-pair")
    assert len(server.asked) == 1


def test_nothing_anywhere_says_what_to_do(world: World, server: Any) -> None:
    with pytest.raises(DownloadError) as caught:
        locate(world.collection)
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


def test_damaged_cache_is_replaced_and_noted(world: World, server: Any) -> None:
    world.fill(world.cache, first=FIRST[::-1])
    server.script = [{"body": FIRST}, {"body": gzip.compress(SECOND)}]
    notes = check(world, "official download")
    assert len(notes) == 1
    assert str(world.cache / "first") in notes[0]
    assert check(world, "cache: ") == ()


def test_damaged_system_copy_is_passed_over(world: World, server: Any) -> None:
    world.fill(world.system, second=b"something else")
    with pytest.raises(DownloadError, match=r"second\.gz"):
        locate(world.collection)
    server.script = [{"body": FIRST}, {"body": gzip.compress(SECOND)}]
    assert "second.gz" in check(world, "official download")[0]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda own: (own / "second.gz").unlink(), r"lacks second\[\.gz\] of The Pair"),
        (lambda own: (own / "first").write_bytes(FIRST[::-1]), "first is not first: .*sha256"),
        (lambda own: (own / "first").rename(own / "1"), r"lacks first\[\.gz\]"),
    ],
)
def test_own_folder_is_the_only_place_looked_at(
    world: World, server: Any, spoil: Callable[[Path], object], words: str
) -> None:
    world.fill(world.cache)
    world.fill(world.own)
    spoil(world.own)
    with pytest.raises(DataError, match=words) as caught:
        locate(world.collection, world.own)
    assert not isinstance(caught.value, DownloadError)
    assert server.url in caught.value.remedy
    assert server.asked == []


def test_own_folder_that_is_none(world: World, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        locate(world.collection, tmp_path / "nowhere")
    (tmp_path / "plain").write_text("")
    with pytest.raises(DataError, match="is not a folder"):
        locate(world.collection, tmp_path / "plain")


def test_one_intact_copy_of_two_will_do(world: World) -> None:
    world.fill(world.own, first=FIRST[::-1])
    (world.own / "first.gz").write_bytes(gzip.compress(FIRST))
    check(world, "folder", world.own)


def test_collection_without_addresses_or_package(world: World) -> None:
    bare = replace(
        world.collection,
        artefacts=tuple(replace(artefact, urls=()) for artefact in world.collection.artefacts),
        package=None,
    )
    with pytest.raises(DownloadError, match=r"it has no address.*--data FOLDER"):
        locate(bare)
