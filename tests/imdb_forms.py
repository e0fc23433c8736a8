"""An IMDB of a few made-up reviews in which some words tell the class, in all its forms."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from qkv.data import imdb
from qkv.data.download import RemoteFile, RetryPolicy
from qkv.data.imdb import ImdbFacts, Reviews

NAME = "aclImdb_v1.tar.gz"
PER_CLASS = 6

# What a careless reader would lose or split at.
_ODD = (
    "plain",
    "two<br /><br />breaks and <br/> one more",
    "other <br> < br /> <BR /> <b>tags</b>",
    "line\u2028separators\x85 and\r\nnewlines\n\n",
    'quotes " \\ and, commas\ttabs \0',
    "  naïve 🎬 \u202bעברית\u202c  ",
)


def made_up_reviews() -> Reviews:
    """Reviews and labels of each split, negative ones first as the hub has them."""
    words = ("a dull and awful film", "a fine and lovely film")
    return {
        split: [
            (f"{split} {number}: {words[label]}, {_ODD[number % len(_ODD)]}", label)
            for label in (0, 1)
            for number in range(PER_CLASS)
        ]
        for split in ("train", "test")
    }


def write_parquet(folder: Path, pairs: Reviews) -> None:
    """The hub's two files, in `folder` itself."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in pairs.items():
        table = pyarrow.table({"text": [t for t, _ in rows], "label": [n for _, n in rows]})
        pyarrow.parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")


def text_files(pairs: Reviews) -> dict[str, bytes]:
    """The published text files, by their path below `aclImdb`."""
    return {
        f"{split}/{('neg', 'pos')[label]}/{number}_{(2, 9)[label]}.txt": text.encode()
        for split, rows in pairs.items()
        for number, (text, label) in enumerate(rows)
    }


def write_folders(root: Path, pairs: Reviews) -> None:
    """The published text files below `root`, and what lies beside them."""
    others = {"README": b"read", "train/unsup/0_0.txt": b"no label", "train/pos/.DS_Store": b"\xff"}
    for name, content in {**text_files(pairs), **others}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def archive(pairs: Reviews, *extra: tarfile.TarInfo) -> bytes:
    """The published archive, with folders and other files in it, and more members at its end."""
    out = io.BytesIO()
    others = {
        "README": b"read",
        "imdb.vocab": b"word\n" * 9000,
        "train/unsup/0_0.txt": b"no label",
        "train/labeledBow.feat": b"9 0:1",
        "test/urls_pos.txt": b"http",
    }
    with (
        gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for folder in ("aclImdb", "aclImdb/test", "aclImdb/train"):
            info = tarfile.TarInfo(folder)
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        for name, content in {**text_files(pairs), **others}.items():
            info = tarfile.TarInfo(f"aclImdb/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra:
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return out.getvalue()


def facts_of(content: bytes = b"", *urls: str, **more: Any) -> ImdbFacts:
    """Facts of a small data set whose archive is `content`; there is no way out unless named."""
    return ImdbFacts(
        archive=RemoteFile(NAME, hashlib.sha256(content).hexdigest(), len(content), urls),
        reviews_per_class=PER_CLASS,
        policy=RetryPolicy(attempts=2, first_wait_seconds=0.01),
        **more,
    )


def write_small(folder: Path) -> Callable[..., Any]:
    """Write the hub's two files; returns `imdb.load` for a data set of just this size."""
    write_parquet(folder, made_up_reviews())
    return functools.partial(imdb.load, facts=facts_of())
