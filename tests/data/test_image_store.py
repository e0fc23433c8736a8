"""The cache of decoded images: made once, checked always, never half there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from qkv.data import image_store
from qkv.data.image_folder import scan_image_folder
from qkv.data.image_store import ImageStore, open_store
from qkv.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for value in range(6):
        path = tmp_path / "data" / "ab"[value % 2] / f"{value}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), value * 10).save(path)
    return tmp_path / "data"


class Decodes(NamedTuple):
    names: list[str]


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Decodes:
    """The names of the files that are decoded, in no order."""
    seen = Decodes([])
    true_read = image_store._read

    def read(file, **options):
        seen.names.append(file.name)
        return true_read(file, **options)

    monkeypatch.setattr(image_store, "_read", read)
    return seen


def store_of(root: Path, **options) -> ImageStore:
    settings = {"image_size": 8, "channels": 1} | options
    layout = scan_image_folder(root)
    return open_store(layout.files, root=layout.root, cache_root=root.parent / "cache", **settings)


def stores(root: Path) -> list[Path]:
    """The pixels of every store in the cache, which must have its manifest and nothing beside."""
    cache = root.parent / "cache"
    pixels = sorted(cache.glob("*.u8"))
    files = {*pixels, *(path.with_suffix(".json") for path in pixels), *cache.glob("*.lock")}
    assert set(cache.iterdir()) == files
    return pixels


def test_the_second_opening_decodes_nothing(root: Path, decodes: Decodes) -> None:
    reported: list[tuple[int, int]] = []
    first = store_of(root, progress=lambda done, total: reported.append((done, total)))
    assert sorted(decodes.names) == [
        f"{'ab'[value % 2]}/{value}.png" for value in (0, 2, 4, 1, 3, 5)
    ]
    assert reported == [(6, 6)]
    second = store_of(root)
    assert len(decodes.names) == 6
    assert isinstance(second.pixels, np.memmap)
    assert not second.pixels.flags.writeable
    assert second.pixels[:, 0, 0, 0].tolist() == [0, 20, 40, 10, 30, 50]
    assert (first.names, first.contents, first.sha256) == (
        second.names,
        second.contents,
        second.sha256,
    )


def test_the_manifest_holds_the_hash_of_the_pixels(root: Path) -> None:
    store = store_of(root)
    (pixels,) = stores(root)
    manifest = json.loads(pixels.with_suffix(".json").read_text())
    content = pixels.read_bytes()
    assert manifest["sha256"] == store.sha256 == hashlib.sha256(content).hexdigest()
    assert manifest["shape"] == [6, 1, 8, 8]
    assert store.contents[0] == hashlib.sha256((root / "a/0.png").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "damage",
    ["flip", "cut", "grow", "no pixels", "no manifest", "not json", "wrong key", "other names"],
)
def test_a_damaged_store_is_made_anew(root: Path, decodes: Decodes, damage: str) -> None:
    before = np.array(store_of(root).pixels)
    (pixels,) = stores(root)
    manifest = pixels.with_suffix(".json")
    content = bytearray(pixels.read_bytes())
    document = json.loads(manifest.read_text())
    if damage == "flip":
        content[77] ^= 1
        pixels.write_bytes(content)
    elif damage == "cut":
        pixels.write_bytes(content[:-1])
    elif damage == "grow":
        pixels.write_bytes(content + b"\0")
    elif damage == "no pixels":
        pixels.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "not json":
        manifest.write_text("{")
    elif damage == "wrong key":
        manifest.write_text(json.dumps(document | {"unknown": 1}))
    else:
        document["files"][0][0] = "../../etc/passwd"
        manifest.write_text(json.dumps(document))
    after = store_of(root)
    assert len(decodes.names) == 12
    assert (after.pixels == before).all()
    store_of(root)
    assert len(decodes.names) == 12


@pytest.mark.parametrize("change", ["content", "time", "more", "fewer", "renamed", "size", "mode"])
def test_a_change_takes_the_place_of_the_old_store(
    root: Path, decodes: Decodes, change: str
) -> None:
    store_of(root)
    old = stores(root)
    file = root / "a/0.png"
    options = {}
    if change == "content":
        Image.new("L", (9, 9), 99).save(file)
    elif change == "time":
        os.utime(file, ns=(1, 1))
    elif change == "more":
        shutil.copy(file, root / "a/new.png")
    elif change == "fewer":
        file.unlink()
    elif change == "renamed":
        file.rename(root / "a/00.png")
    elif change == "size":
        options = {"image_size": 12}
    else:
        options = {"channels": 3}
    count = len(scan_image_folder(root).files)
    store = store_of(root, **options)
    assert len(decodes.names) == 6 + count
    if change == "content":
        assert (store.pixels[0] == 99).all()
    if options:  # other settings of the same folder may live side by side
        assert set(old) < set(stores(root))
    else:
        assert len(stores(root)) == 1
        assert stores(root) != old


def test_another_folder_of_equal_listing_is_another_store(root: Path, decodes: Decodes) -> None:
    store_of(root)
    twin = root.parent / "twin"
    shutil.copytree(root, twin)
    for path in root.rglob("*.png"):
        facts = path.stat()
        os.utime(twin / path.relative_to(root), ns=(facts.st_atime_ns, facts.st_mtime_ns))
    store_of(twin)
    assert len(decodes.names) == 12


def test_an_interrupted_build_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_of(root, progress=interrupt)
    assert stores(root) == []
    assert len(store_of(root).names) == 6


def test_what_a_killed_build_left_is_removed(root: Path) -> None:
    store_of(root)
    (pixels,) = stores(root)
    pixels.rename(pixels.with_name(f".{pixels.name}.abc.tmp"))
    store_of(root)
    assert stores(root) == [pixels]


def test_a_file_that_became_readable_is_taken_up(root: Path, decodes: Decodes) -> None:
    file = root / "a/0.png"
    facts, content = file.stat(), file.read_bytes()
    file.write_bytes(bytes(len(content)))
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    store = store_of(root)
    assert store.bad == (("a/0.png", "is not a PNG, JPEG, WebP, GIF, BMP or TIFF image"),)
    assert len(store.names) == 5
    assert store_of(root).bad == store.bad
    assert set(decodes.names[6:]) == {"a/0.png"}
    file.write_bytes(content)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert store_of(root).bad == ()


def test_a_full_disk_is_told_before_decoding(
    root: Path, decodes: Decodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=60_000_000))
    with pytest.raises(DataError, match=r"need 384 bytes .*cache has 57.2 MiB free; free space"):
        store_of(root)
    assert decodes.names == []


def test_a_cache_that_cannot_be_written_is_told(root: Path) -> None:
    (root.parent / "cache").write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"the image cache .*cache cannot be used"):
        store_of(root)


def test_threads_that_open_together_build_once(root: Path, decodes: Decodes) -> None:
    opened: list[ImageStore] = []
    threads = [threading.Thread(target=lambda: opened.append(store_of(root))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({store.sha256 for store in opened}) == 1
    assert len(opened) == 4
    assert len(decodes.names) == 6
