"""Where files are found, which split and class they get, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qkv.data.class_folders import ClassFolders
from qkv.data.image_folder import scan_image_folder
from qkv.errors import DataError


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    return root


def found(layout: ClassFolders) -> dict[str, tuple[str, str]]:
    return {file.name: (file.split, file.class_name) for file in layout.files}


def test_classes_without_splits_and_any_depth(tmp_path: Path) -> None:
    layout = scan_image_folder(tree(tmp_path, "dog/a.png", "cat/x/y/b.png", "cat/c.jpg"))
    assert not layout.has_splits
    assert layout.class_folders == {"train": ("cat", "dog")}
    assert found(layout) == {
        "cat/c.jpg": ("train", "cat"),
        "cat/x/y/b.png": ("train", "cat"),
        "dog/a.png": ("train", "dog"),
    }
    assert [file.name for file in layout.files] == sorted(found(layout))
    assert layout.files[0].size_bytes == 1


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_splits_by_their_names(name: str, tmp_path: Path) -> None:
    layout = scan_image_folder(tree(tmp_path, "train/a/1.png", f"{name}/a/2.png", "test/b/n/3.png"))
    assert layout.has_splits
    assert list(layout.class_folders) == ["train", "validation", "test"]
    assert found(layout) == {
        "train/a/1.png": ("train", "a"),
        f"{name}/a/2.png": ("validation", "a"),
        "test/b/n/3.png": ("test", "b"),
    }


@pytest.mark.parametrize("name", ["train", "test", "val"])
def test_a_class_may_be_called_like_a_split(name: str, tmp_path: Path) -> None:
    layout = scan_image_folder(tree(tmp_path, f"{name}/1.png", "car/2.png", "plane/3.png"))
    assert not layout.has_splits
    assert name in layout.class_folders["train"]


def test_train_alone_is_a_split(tmp_path: Path) -> None:
    layout = scan_image_folder(tree(tmp_path, "train/a/1.png", "train/b/1.png"))
    assert layout.class_folders == {"train": ("a", "b")}
    assert layout.has_splits


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("train/a/1", "test/a/1", "extra/1"),
            r"split folders \(test, train\) beside others \(ext",
        ),
        (("train/a/1", "val/a/1", "valid/a/1"), r"two validation folders \(val and valid\)"),
        (("val/a/1", "test/a/1"), "has test and val but no train folder. add train/"),
        (("1.txt",), "has no class folders. give a folder laid out as"),
        (("train/",), "has no class folders"),
        (("a/", "b/"), "has no images in its class folders"),
        (("a/.hidden",), "has no images in its class folders"),
    ],
)
def test_layouts_that_are_refused(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        scan_image_folder(tree(tmp_path, *names))


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*nowhere; check the path"):
        scan_image_folder(tmp_path / "nowhere")
    tree(tmp_path, "file.png")
    with pytest.raises(DataError, match=r"file\.png is a file, not a folder"):
        scan_image_folder(tmp_path / "file.png")


def test_hidden_files_and_documents_beside_classes_are_ignored(tmp_path: Path) -> None:
    tree(tmp_path, "a/.DS_Store", "a/Thumbs.db", "a/.git/x", ".cache/x", "__MACOSX/a/1.png")
    layout = scan_image_folder(tree(tmp_path, "README.md", "labels.csv", "a/1.png"))
    assert list(found(layout)) == ["a/1.png"]
    assert layout.bad == ()


def test_images_outside_the_classes_are_bad(tmp_path: Path) -> None:
    layout = scan_image_folder(tree(tmp_path, "1.PNG", "train/2.jpg", "train/a/3.png"))
    reason = "lies outside any class folder, so it has no label"
    assert layout.bad == (("1.PNG", reason), ("train/2.jpg", reason))


def test_empty_classes_are_told(tmp_path: Path) -> None:
    layout = scan_image_folder(tree(tmp_path, "a/1.png", "b/x/.hidden", "c/"))
    assert layout.empty == ("b", "c")
    split = scan_image_folder(tree(tmp_path / "s", "train/a/1.png", "test/a/"))
    assert split.empty == ("test/a",)


def test_links_are_followed_only_to_files_within(tmp_path: Path) -> None:
    outside = tree(tmp_path / "outside", "secret.png", "folder/x.png")
    root = tree(tmp_path / "root", "a/1.png", "b/2.png")
    (root / "a/inside.png").symlink_to(root / "b/2.png")
    (root / "a/leaves.png").symlink_to(outside / "secret.png")
    (root / "a/up.png").symlink_to(Path("../../outside/secret.png"))
    (root / "a/broken.png").symlink_to(root / "none.png")
    (root / "a/loop").symlink_to(root, target_is_directory=True)
    (root / "c").symlink_to(outside / "folder", target_is_directory=True)
    layout = scan_image_folder(root)
    assert list(found(layout)) == ["a/1.png", "a/inside.png", "b/2.png"]
    assert dict(layout.bad) == {
        "a/broken.png": "is a link to nothing",
        "a/leaves.png": "is a link that leaves the folder",
        "a/loop": "is a link to a folder, which is not followed",
        "a/up.png": "is a link that leaves the folder",
        "c": "is a link to a folder, which is not followed",
    }


def test_a_split_that_is_a_link_is_told(tmp_path: Path) -> None:
    outside = tree(tmp_path / "outside", "a/x.png")
    root = tree(tmp_path / "root", "train/a/1.png", "train/b/1.png")
    (root / "test").symlink_to(outside, target_is_directory=True)
    assert scan_image_folder(root).bad == (
        ("test", "is a link to a folder, which is not followed"),
    )


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", "a/1.png")
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    assert scan_image_folder(tmp_path / "link").root == root.resolve()


def test_pipes_are_bad_and_never_opened(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.png")
    os.mkfifo(tmp_path / "a/pipe.png")
    assert scan_image_folder(tmp_path).bad == (("a/pipe.png", "is not a regular file"),)


def test_names_that_are_not_utf8_are_bad(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.png")
    try:
        tree(tmp_path, os.fsdecode(b"a/\xff.png"))
    except OSError:  # a file system that refuses such names leaves nothing to find
        return
    assert scan_image_folder(tmp_path).bad == (("a/\\udcff.png", "its name is not valid UTF-8"),)
