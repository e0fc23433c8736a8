"""`qkv data`: where data are, and what is in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qkv.data import fashion_mnist
from qkv.data.dataset import ImageDataset, ImageSplit
from qkv.data.locate import Located

Call = Callable[..., Any]


@pytest.fixture
def located(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fashion-MNIST found in a folder, with a remark."""

    def locate(folder: Path | None = None, **_: object) -> Located:
        place = folder or tmp_path
        return Located(place, {"a": place / "a"}, {"a": b"x"}, "cache: here", ("passed over b",))

    monkeypatch.setattr(fashion_mnist, "locate", locate)
    return tmp_path


def test_get_prints_the_folder_alone_on_standard_output(qkv: Call, located: Path) -> None:
    outcome = qkv("data", "get", "fashion-mnist")
    assert (outcome.code, outcome.out) == (0, f"{located}\n")
    assert "passed over b" in outcome.err
    assert "cache: here" in outcome.err


def test_get_as_json_names_every_file(qkv: Call, located: Path, tmp_path: Path) -> None:
    outcome = qkv("data", "get", "fashion-mnist", "--data", tmp_path / "mine", "--json")
    assert outcome.json == {
        "dataset": "fashion-mnist",
        "folder": str(tmp_path / "mine"),
        "files": {"a": str(tmp_path / "mine/a")},
        "source": "cache: here",
    }


def test_get_from_a_folder_without_the_files_says_what_lacks(qkv: Call, tmp_path: Path) -> None:
    outcome = qkv("data", "get", "fashion-mnist", "--data", tmp_path)
    assert outcome.code == 2
    assert "train-images-idx3-ubyte" in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("command", ["get", "inspect"])
def test_an_unknown_data_set_gets_the_nearest_name(qkv: Call, command: str) -> None:
    outcome = qkv("data", command, "fashon-mnist")
    assert (outcome.code, outcome.out) == (2, "")
    assert "no data set 'fashon-mnist'; did you mean 'fashion-mnist'?" in outcome.err


def test_inspect_shows_counts_copies_bad_files_and_warnings(
    qkv: Call, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_photos(tmp_path / "photos" / "train", count=6).parent
    make_photos(folder / "test", names=("blue",), count=1)
    copy = folder / "test/blue/copy.png"
    copy.write_bytes((folder / "train/[red]/0.png").read_bytes())
    (folder / "train/blue/bad.gif").write_bytes(b"bad")

    outcome = qkv("data", "inspect", folder)
    assert outcome.code == 0
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["class", "train", "test"] in lines
    assert ["[red]", "6", "-"] in lines
    assert ["blue", "6", "2"] in lines
    assert ["all", "18", "2"] in lines
    assert "10 pixels" in outcome.out
    assert "across splits" in outcome.out
    assert "test/blue/copy.png" in outcome.out
    assert "1 file cannot be used\n  train/blue/bad.gif: " in outcome.out
    assert "the test is not honest" in outcome.out
    assert "--sheet" in outcome.err

    document = qkv("data", "inspect", folder, "--json").json
    assert document["classes"]["blue"] == {"train": 6, "test": 2}
    assert [item["path"] for item in document["bad_files"]] == ["train/blue/bad.gif"]


def test_inspect_counts_the_groups_of_copies_it_leaves_out(
    qkv: Call, make_photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = make_photos(tmp_path / "photos", count=6)
    monkeypatch.setattr("qkv.data.audit.SHOWN_GROUPS", 1)
    first, second = sorted(photos.rglob("*.png"))[:2]
    for image in (first, second):
        image.with_stem(f"copy of {image.stem}").write_bytes(image.read_bytes())
    out = qkv("data", "inspect", photos).out
    assert "  2 groups of 4 images within a split\n" in out
    assert "    and 1 more group\n" in out


def test_inspect_draws_a_contact_sheet_when_asked(qkv: Call, photos: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    outcome = qkv("data", "inspect", photos, "--sheet", sheet, "--json")
    assert outcome.code == 0
    assert outcome.json["images"] == 36
    assert str(sheet) in outcome.err
    with Image.open(sheet) as picture:
        assert picture.format == "PNG"
        assert picture.height > 3 * 64


def test_inspect_of_a_named_data_set_reads_it_whole(
    qkv: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.arange(6 * 64, dtype=np.uint8).reshape(6, 1, 8, 8)
    labels = np.array([0, 1, 0, 1, 0, 1])
    dataset = ImageDataset(
        name="Fashion-MNIST",
        class_names=("a", "b"),
        train=ImageSplit(pixels, np.arange(4), labels[:4]),
        validation=None,
        test=ImageSplit(pixels, np.arange(4, 6), labels[4:]),
        source="cache: here",
        sha256={},
    )
    monkeypatch.setattr(fashion_mnist, "load", lambda folder=None, **_: dataset)
    sheet = tmp_path / "sheet.png"
    outcome = qkv("data", "inspect", "fashion-mnist", "--sheet", sheet, "--json")
    assert outcome.json["splits"] == {"train": 4, "test": 2}
    assert sheet.is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos/"], "there is no folder photos"),
        (["photos/", "--sheet", "sheet.jpg"], "sheet.jpg is not a PNG file"),
        (["photos/", "--data", "more"], "name the folder alone: more"),
    ],
)
def test_inspect_refuses(
    qkv: Call, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = qkv("data", "inspect", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
