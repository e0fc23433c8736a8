"""Image folders from files to splits, and each message a user may meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qkv.data.dataset import ImageDataset, ImageSplit
from qkv.data.image_decode import decode, resize_and_crop
from qkv.data.image_folder import ImageFolderSettings, load_image_folder
from qkv.errors import BadFilesError, DataError, RecipeError

SMALL = ImageFolderSettings(image_size=8, channels=1)


def picture(path: Path, value: int, *, size: tuple[int, int] = (8, 8), mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).convert(mode).save(path)
    return path


def folder(root: Path, classes: dict[str, int], start: int = 0) -> Path:
    """Classes of PNGs, no two alike: grey values from `start` upwards in order of mention."""
    value = start
    for name, count in classes.items():
        for number in range(count):
            picture(root / name / f"{number:03}.png", value)
            value += 1
    return root


def load(root: Path, tmp_path: Path, **options: Any) -> ImageDataset:
    settings = options.pop("settings", SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKV_CACHE", str(tmp_path / "cache"))
        return load_image_folder(root, settings, seed=options.pop("seed", 3), **options)


def splits_of(dataset: ImageDataset) -> dict[str, ImageSplit]:
    named = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    return {name: split for name, split in named.items() if split is not None}


def test_an_undivided_folder(tmp_path: Path) -> None:
    root = folder(tmp_path / "pets", {"dog": 20, "cat": 10})
    dataset = load(root, tmp_path)
    assert dataset.name == "pets"
    assert dataset.class_names == ("cat", "dog")
    assert dataset.image_shape == (1, 8, 8)
    assert set(dataset.sha256) == {"store"}
    assert dataset.skipped == ()
    assert dataset.notes == (
        "carved from the train images by seed 3: 3 for validation and 3 for test",
    )
    splits = splits_of(dataset)
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 24,
        "validation": 3,
        "test": 3,
    }
    names = [name for split in splits.values() for name in split.names]
    assert sorted(names) == sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*.png")
    )
    for split in splits.values():
        assert isinstance(split.store, np.memmap)
        images = split.take(np.arange(len(split)))
        for image, label, name in zip(images, split.labels, split.names, strict=True):
            assert dataset.class_names[label] == name.split("/")[0]
            assert (image == decode(root / name, channels=1)).all()


def test_the_seed_draws_the_split(tmp_path: Path) -> None:
    root = folder(tmp_path / "pets", {"dog": 30, "cat": 30})
    first = load(root, tmp_path, seed=1)
    assert first.test is not None
    for seed, same in ((1, True), (2, False)):
        again = load(root, tmp_path, seed=seed)
        assert again.test is not None
        assert (again.test.names == first.test.names) is same
        assert again.sha256 == first.sha256


def test_given_splits_are_kept(tmp_path: Path) -> None:
    root = tmp_path / "data"
    folder(root / "train", {"a": 4, "b": 4})
    folder(root / "val", {"a": 2, "b": 1}, start=50)
    folder(root / "test", {"b": 3}, start=80)
    dataset = load(root, tmp_path)
    assert dataset.notes == ()
    for name, split in splits_of(dataset).items():
        start = {"validation": "val"}.get(name, name)
        assert all(path.startswith(f"{start}/") for path in split.names)
    assert dataset.test is not None
    assert dataset.test.labels.tolist() == [1, 1, 1]


@pytest.mark.parametrize(("given", "carved"), [("test", "validation"), ("val", "test")])
def test_a_missing_split_is_carved_from_train(given: str, carved: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    folder(root / "train", {"a": 10, "b": 10})
    folder(root / given, {"a": 2, "b": 2}, start=50)
    dataset = load(root, tmp_path)
    split = splits_of(dataset)[carved]
    assert sorted(split.labels) == [0, 1]
    assert all(name.startswith("train/") for name in split.names)
    assert len(dataset.train) == 18
    assert dataset.notes == (f"carved from the train images by seed 3: 2 for {carved}",)


def test_varied_formats_sizes_and_modes_come_to_one_shape(tmp_path: Path) -> None:
    root = tmp_path / "mixed"
    modes = {"png": "RGBA", "jpg": "CMYK", "webp": "RGB", "gif": "P", "bmp": "1", "tiff": "I;16"}
    for label in ("a", "b"):
        for number, (suffix, mode) in enumerate(modes.items()):
            value = 20 * number + (10 if label == "b" else 0)
            path = root / label / f"{number}.{suffix}"
            picture(path, value, size=(40 + number, 60), mode=mode)
    picture(root / "b/4.bmp", 255, size=(44, 60), mode="1")  # black like a/4 otherwise
    dataset = load(root, tmp_path, settings=ImageFolderSettings())
    assert dataset.image_shape == (3, 32, 32)  # the median shorter side is 42.5
    split = dataset.train
    for index, name in enumerate(split.names):
        expected = resize_and_crop(decode(root / name, channels=3), 32)
        assert (split.take(np.array([index]))[0] == expected).all()


@pytest.mark.parametrize(
    ("sides", "chosen"),
    [
        ((10, 20), 28),
        ((28, 30), 28),
        ((32, 32), 32),
        ((63, 64), 32),
        ((64, 95), 64),
        ((96, 900), 96),
    ],
)
def test_the_size_is_chosen_by_the_median(
    sides: tuple[int, int], chosen: int, tmp_path: Path
) -> None:
    for number in range(6):
        side = sides[0] if number != 5 else sides[1]
        picture(tmp_path / f"data/{'ab'[number % 2]}/{number}.png", number, size=(side, side + 5))
    dataset = load(tmp_path / "data", tmp_path, settings=ImageFolderSettings())
    assert dataset.image_shape == (1, chosen, chosen)


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("LA", 1), ("I;16", 1), ("RGB", 3), ("RGBA", 3)]
)
def test_channels_are_chosen_by_the_modes(mode: str, channels: int, tmp_path: Path) -> None:
    root = folder(tmp_path / "data", {"a": 3, "b": 4})
    picture(root / "b/other.png", 200, mode=mode)
    dataset = load(root, tmp_path, settings=ImageFolderSettings(image_size=8))
    assert dataset.image_shape == (channels, 8, 8)


def test_settings_are_checked() -> None:
    for values, message in [
        ({"image_size": 30}, "image_size.*multiple of 4"),
        ({"image_size": 4}, "image_size"),
        ({"channels": 2}, "channels"),
        ({"test_fraction": 0}, "test_fraction"),
        ({"test_fraction": 0.5, "validation_fraction": 0.5}, "leave nothing to train on"),
        ({"imagesize": 8}, "did you mean 'image_size'"),
    ]:
        with pytest.raises(RecipeError, match=message):
            ImageFolderSettings.parse(values, where="data")


def test_bad_files_stop_and_are_all_listed(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", {"a": 5, "b": 5})
    (root / "a/empty.png").write_bytes(b"")
    (root / "a/notes.txt").write_text("not an image")
    broken = (root / "b/000.png").read_bytes()
    (root / "b/broken.png").write_bytes(broken[: len(broken) - 28])
    picture(root / "loose.png", 1)
    with pytest.raises(BadFilesError) as caught:
        load(root, tmp_path)
    files = dict(caught.value.files)
    assert list(files) == ["a/empty.png", "a/notes.txt", "b/broken.png", "loose.png"]
    assert files["a/empty.png"] == "is empty (0 bytes)"
    assert files["a/notes.txt"] == "is not a PNG, JPEG, WebP, GIF, BMP or TIFF image"
    assert files["b/broken.png"].startswith("is damaged or truncated (")
    assert files["loose.png"].startswith("lies outside any class folder")
    message = str(caught.value)
    assert "4 of 14 files" in message
    assert "a/empty.png is empty (0 bytes); a/notes.txt is not" in message
    assert message.endswith("and 1 more; repair or remove them, or leave them out with --skip-bad")

    dataset = load(root, tmp_path, skip_bad=True)
    assert {file.path: file.reason for file in dataset.skipped} == files
    assert sum(map(len, splits_of(dataset).values())) == 10


def test_nothing_but_bad_files(tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "a/3", "b/1", "b/2", "b/3"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(name)
    with pytest.raises(BadFilesError, match="none of the 6 files can be decoded") as caught:
        load(tmp_path / "data", tmp_path, skip_bad=True)
    assert len(caught.value.files) == 6
    assert list((tmp_path / "cache" / "images").glob("*-*")) == []


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"a": 3, "b": 3, "c": 0}, "class folder 'c' is empty; add images to it or remove it"),
        ({"a": 3}, "has a single class, 'a'; add a second class folder, or name the folder"),
        ({"a": 3, "b": 1}, r"class 'b' has 1 image, needs at least 3 \(one each for train, val"),
        ({"a": 2, "b": 3, "c": 1}, "class 'a' has 2 images, .* and 1 more classes alike"),
    ],
)
def test_classes_that_cannot_be_learned(
    classes: dict[str, int], message: str, tmp_path: Path
) -> None:
    root = folder(tmp_path / "data", classes)
    for name in classes:
        (root / name).mkdir(exist_ok=True)
    with pytest.raises(DataError, match=message):
        load(root, tmp_path, skip_bad=True)


def test_one_image_to_train_on_although_splits_are_given(tmp_path: Path) -> None:
    for split, start in (("train", 0), ("val", 50), ("test", 100)):
        folder(tmp_path / "data" / split, {"a": 2, "b": 1 if split == "train" else 2}, start)
    with pytest.raises(DataError, match="class 'b' has 1 image, needs at least 2 to train on"):
        load(tmp_path / "data", tmp_path)


def test_a_class_too_small_once_bad_files_are_left_out(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", {"a": 3, "b": 3})
    (root / "b/001.png").write_bytes(b"")
    with pytest.raises(DataError, match="class 'b' has 2 distinct images, needs at least 3"):
        load(root, tmp_path, skip_bad=True)


def test_a_class_that_train_lacks(tmp_path: Path) -> None:
    folder(tmp_path / "data/train", {"a": 3, "b": 3})
    folder(tmp_path / "data/test", {"a": 1, "zebra": 1}, start=50)
    with pytest.raises(DataError, match="class 'zebra' is in test but not in train"):
        load(tmp_path / "data", tmp_path)


def test_the_same_file_in_two_splits(tmp_path: Path) -> None:
    folder(tmp_path / "data/train", {"a": 5, "b": 5})
    folder(tmp_path / "data/test", {"a": 4, "b": 1}, start=1)
    with pytest.raises(
        DataError,
        match="the same image lies in two splits: test/a/000.png = train/a/001.png, .* "
        r"\(and 2 more\); remove one copy of each",
    ):
        load(tmp_path / "data", tmp_path)


def test_copies_stay_on_one_side_and_torn_labels_are_noted(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", {"a": 12, "b": 12})
    for number in range(12):
        content = (root / f"a/{number:03}.png").read_bytes()
        (root / f"a/copy{number}.png").write_bytes(content)
    (root / "b/torn.png").write_bytes((root / "a/004.png").read_bytes())
    for seed in range(5):
        dataset = load(root, tmp_path, seed=seed)
        assert dataset.notes[1] == (
            "the same image under different labels: a/004.png = a/copy4.png = b/torn.png"
        )
        sides = {
            name: split_name
            for split_name, split in splits_of(dataset).items()
            for name in split.names
        }
        assert len(sides) == 37
        for number in range(12):
            assert sides[f"a/{number:03}.png"] == sides[f"a/copy{number}.png"]
        assert sides["b/torn.png"] == sides["a/004.png"]
