"""Fashion-MNIST: the real files where they can be had, and small ones of the same form."""

from __future__ import annotations

import gzip
import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qkv.data.dataset import ImageDataset
from qkv.data.download import RemoteFile
from qkv.data.fashion_mnist import CLASS_NAMES, FILES, load, read_idx
from qkv.data.locate import DatasetFiles
from qkv.errors import DataError


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


# --- the format -----------------------------------------------------------------------------


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, max_side=7)))
def test_any_array_comes_back(values: np.ndarray) -> None:
    read = read_idx(idx(values))
    assert read.shape == values.shape
    assert not read.flags.writeable
    np.testing.assert_array_equal(read, values)


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3, max_side=5)), st.data())
def test_any_other_length_is_refused(values: np.ndarray, data: st.DataObject) -> None:
    content = idx(values)
    keep = data.draw(st.integers(0, len(content) - 1))
    for wrong in (content[:keep], content + b"\0"):
        with pytest.raises(DataError):
            read_idx(wrong)


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        values = read_idx(content)
    except DataError:
        return
    assert idx(values) == content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "does not begin like an IDX file"),
        (b"\x1f\x8b\x08\x01", "does not begin like an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "of unsigned bytes .00000d01"),
        (b"\0\0\x08\0", "does not begin"),
        (b"\0\0\x08\xff", "does not begin"),
        (b"\0\0\x08\x03\0\0\0\x01", "ends within its header"),
        (b"\0\0\x08\x01\0\0\0\0", "has 8 bytes, which do not fit its shape"),
        (b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff", "do not fit its shape"),
    ],
)
def test_malformed_headers_are_named(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=f"photos.idx.*{words}"):
        read_idx(content, where="photos.idx")


# --- small files of the same form -----------------------------------------------------------

TRAIN, TEST = 13, 7


def small_arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(3)
    return {
        "train-images-idx3-ubyte": generator.integers(0, 256, (TRAIN, 28, 28), dtype=np.uint8),
        "train-labels-idx1-ubyte": (np.arange(TRAIN) % 10).astype(np.uint8),
        "t10k-images-idx3-ubyte": generator.integers(0, 256, (TEST, 28, 28), dtype=np.uint8),
        "t10k-labels-idx1-ubyte": (np.arange(TEST) + 3).astype(np.uint8),
    }


def write(arrays: dict[str, np.ndarray], folder: Path, *, packed: bool = False) -> DatasetFiles:
    """The files in `folder`, and what expects just them and has no way out."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, values in arrays.items():
        content = idx(values)
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
        digest = hashlib.sha256(content).hexdigest()
        files.append(RemoteFile(name, digest, len(content), gzipped=True))
    return replace(FILES, files=tuple(files), package=None)


def check_small(dataset: ImageDataset) -> None:
    arrays = small_arrays()
    assert dataset.class_names == CLASS_NAMES
    assert dataset.image_shape == (1, 28, 28)
    assert dataset.validation is None
    assert dataset.test is not None
    for split, prefix in ((dataset.train, "train"), (dataset.test, "t10k")):
        images = arrays[f"{prefix}-images-idx3-ubyte"]
        everything = np.arange(len(split), dtype=np.int64)
        np.testing.assert_array_equal(split.take(everything)[:, 0], images)
        np.testing.assert_array_equal(split.labels, arrays[f"{prefix}-labels-idx1-ubyte"])
        assert split.labels.dtype == np.int64
        assert split.store.dtype == np.uint8


@pytest.mark.parametrize("packed", [False, True])
def test_own_folder(tmp_path: Path, packed: bool) -> None:
    files = write(small_arrays(), tmp_path, packed=packed)
    dataset = load(tmp_path, files=files)
    check_small(dataset)
    assert dataset.source == f"folder {tmp_path}"
    assert dataset.sha256 == {file.name: file.sha256 for file in files.files}


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("train-labels-idx1-ubyte", np.full(TRAIN, 10, np.uint8), "label 10, beyond the 10"),
        ("t10k-labels-idx1-ubyte", np.zeros(TEST + 1, np.uint8), r"shape \(8,\) for 7 images"),
        ("t10k-images-idx3-ubyte", np.zeros((TEST, 27, 28), np.uint8), r"\(7, 27, 28\), not"),
        ("train-images-idx3-ubyte", np.zeros(TRAIN, np.uint8), r"shape \(13,\), not"),
    ],
)
def test_files_that_do_not_fit_together(
    tmp_path: Path, name: str, values: np.ndarray, words: str
) -> None:
    files = write({**small_arrays(), name: values}, tmp_path)
    with pytest.raises(DataError, match=f"{name} has .*{words}"):
        load(tmp_path, files=files)


def test_own_folder_must_hold_the_real_files(tmp_path: Path) -> None:
    write(small_arrays(), tmp_path)
    with pytest.raises(DataError, match="holds 10,208 bytes, expected 47,040,016"):
        load(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"lacks t10k-labels-idx1-ubyte\[\.gz\]") as caught:
        load(tmp_path)
    assert "http://" in caught.value.remedy
    assert "t10k-labels-idx1-ubyte.gz" in caught.value.remedy


def test_addresses_are_official_first() -> None:
    for file in FILES.files:
        assert file.gzipped
        assert [url.split("/")[2] for url in file.urls] == [
            "fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            "raw.githubusercontent.com",
        ]
        assert all(url.endswith(f"/{file.name}.gz") for url in file.urls)


# --- the real files -------------------------------------------------------------------------


@pytest.mark.real_data
def test_real_files(fashion_mnist: ImageDataset) -> None:
    assert fashion_mnist.test is not None
    assert fashion_mnist.image_shape == (1, 28, 28)
    for split, count in ((fashion_mnist.train, 60_000), (fashion_mnist.test, 10_000)):
        assert split.store.shape == (count, 1, 28, 28)
        assert split.store.dtype == np.uint8
        assert np.bincount(split.labels).tolist() == [count // 10] * 10
    assert not fashion_mnist.train.store.flags.writeable
    # The mean pixel of the training images, known from their publication as 0.2860.
    assert round(float(fashion_mnist.train.store.mean()) / 255, 4) == 0.2860
