"""IMDB: 50,000 reviews of films, half of them for training, half of them positive."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from qkv.data.dataset import TextDataset, TextSplit, text_sha256
from qkv.data.download import RemoteFile, RetryPolicy, download, fetching, read_verified
from qkv.data.locate import Located, hub_files, nearest, require_folder
from qkv.data.table_readers import open_table
from qkv.errors import DataError, DownloadError, MissingExtraError
from qkv.files import cache_dir, replace_file
from qkv.progress import Progress

CLASS_NAMES = ("neg", "pos")
CACHE_FOLDER = "imdb"
KEPT = "reviews.jsonl.gz"
"""The file in the cache: one line of facts, then a line for each review."""

_SPLITS = ("train", "test")
_TABLES = {split: f"{split}-00000-of-00001.parquet" for split in _SPLITS}
_FOLDERS = {f"{split}/{name}": f"{split}/{name}" for split in _SPLITS for name in CLASS_NAMES}
_REVIEW = re.compile(r"(aclImdb/)?(train|test)/(neg|pos)/[^/]+\.txt")
_BREAK = re.compile(r"<br ?/>")
_FORMAT = "qkv imdb 1"
_REMEDY = "download it again"

Reviews = dict[str, list[tuple[str, int]]]
"""The reviews of each split, each with its label."""


@dataclass(frozen=True)
class ImdbFacts:
    """Where the data set comes from and how to know that it is whole; tests pass their own.

    Attributes:
        archive: the official tar archive.
        reviews_per_class: reviews of each label in each split.
        sha256: `digest` of each split as published; a copy with other texts is used, but noted.
        repository: the data set on the Hugging Face hub; None to leave the hub alone.
        revision: the commit there.
        policy: how the official download tries.
    """

    archive: RemoteFile
    reviews_per_class: int
    sha256: Mapping[str, str] = field(default_factory=dict)
    repository: str | None = None
    revision: str | None = None
    policy: RetryPolicy = field(default_factory=RetryPolicy)


IMDB = ImdbFacts(
    # Maas et al. 2011, "Learning Word Vectors for Sentiment Analysis".
    archive=RemoteFile(
        name="aclImdb_v1.tar.gz",
        sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
        size=84_125_825,
        urls=("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
    ),
    reviews_per_class=12_500,
    sha256={
        "train": "ded911cbb54d409e192021595d3b8a40176b35ab663af0fb8b6bfd7acf9bbf06",
        "test": "340290e10a3478d6774f31c5cfcb1976477898ff4c4d4527023973092ae394df",
    },
    repository="stanfordnlp/imdb",
    revision="e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
)


def load(
    folder: Path | None = None,
    *,
    progress: Progress | None = None,
    local_only: bool = False,
    facts: ImdbFacts = IMDB,
) -> TextDataset:
    """IMDB (Maas et al. 2011): 25,000 training and 25,000 test reviews, neg 0 and pos 1.

    Texts, labels, order and hashes are the same wherever the data set comes from. The hashes are of
    the texts as published; the splits have newlines for breaks, see `lines_for_breaks`. There is no
    validation split. Arguments and errors as of `locate`.
    """
    found = locate(folder, progress=progress, local_only=local_only, facts=facts)
    train, test = (
        TextSplit(
            tuple(lines_for_breaks(text) for text, _ in found.content[split]),
            np.array([label for _, label in found.content[split]], dtype=np.int64),
        )
        for split in _SPLITS
    )
    return TextDataset(
        name="imdb",
        class_names=CLASS_NAMES,
        train=train,
        validation=None,
        test=test,
        source=found.source,
        sha256=digests(found.content),
        notes=found.notes,
    )


def locate(
    folder: Path | None = None,
    *,
    progress: Progress | None = None,
    local_only: bool = False,
    facts: ImdbFacts = IMDB,
) -> Located[Reviews]:
    """Find or fetch the data set and verify it.

    A folder that the user names is the only place looked at. It may hold the hub's
    `plain_text/*.parquet` (or these files themselves), `aclImdb/{train,test}/{pos,neg}/*.txt` (or
    what is in `aclImdb`), the official archive as it was downloaded, or the cache's own file.
    Otherwise: the cache, the hub's cache, and, unless `local_only`, the official archive and the
    hub. What is found in the last three is kept in the cache as one file. `progress` is called with
    (done, total) bytes while the archive is downloaded.

    Raises:
        DataError: the user's folder lacks files or holds wrong ones.
        DownloadError: the data set is nowhere and cannot be fetched; says what to do.
        MissingExtraError: the user's folder holds Parquet files and pyarrow is not installed.
        RunError: the cache cannot be written.
    """
    address = facts.archive.urls[0] if facts.archive.urls else facts.archive.name
    cache = cache_dir() / CACHE_FOLDER

    def from_archive() -> Reviews:
        path = download(facts.archive, cache, progress=progress, policy=facts.policy)
        return gather(_read_archive({"archive": path}, facts), facts, path)

    def from_hub(*, local_only: bool = False) -> Reviews:
        assert facts.repository is not None
        files = [f"plain_text/{name}" for name in _TABLES.values()]
        place = hub_files(
            facts.repository, files, revision=facts.revision, kind="dataset", local_only=local_only
        )
        return _read(place, facts).content

    def from_hub_cache() -> Located[Reviews] | None:
        try:
            return _keep(cache, "hub's cache", partial(from_hub, local_only=True), facts)
        except (DownloadError, MissingExtraError):
            return None

    if folder is not None:
        require_folder(folder, "IMDB")
        found = _read(folder, facts, f"download {address} into it, or name none to have it fetched")
    else:
        places = [lambda: _read_cache(cache, facts)]
        ways = []
        if facts.archive.urls and not local_only:
            ways.append(lambda: _keep(cache, "official archive", from_archive, facts))
        if facts.repository:
            places.append(from_hub_cache)
        if facts.repository and not local_only:
            ways.append(lambda: _keep(cache, "hub", from_hub, facts))
        remedy = f"download {address} into a folder and pass --data FOLDER"
        found = nearest("IMDB", places, ways, remedy=remedy)
    hashes = digests(found.content)
    other = [split for split, known in facts.sha256.items() if hashes[split] != known]
    if not other:
        return found
    note = (
        f"{found.source}: the texts or labels of {' and '.join(other)} are not exactly those of "
        "IMDB as published"
    )
    return replace(found, notes=(*found.notes, note))


# --- one order for all sources --------------------------------------------------------------


def lines_for_breaks(text: str) -> str:
    r"""A review with each `<br />` or `<br/>`, the one tag left in them, as one newline.

    Other angle brackets, blanks at either end and doubled newlines are the writer's and stay.

    >>> lines_for_breaks("Bad.<br /><br />Really <bad>.")
    'Bad.\n\nReally <bad>.'
    """
    return _BREAK.sub("\n", text)


def gather(reviews: Reviews, facts: ImdbFacts, where: Path) -> Reviews:
    """The data set out of its reviews in any order.

    The places that offer IMDB have it in different orders. Here the order is that of the texts'
    hashes: it is the same wherever the texts came from, so that a seed means the same, and any
    stretch of it is a fair sample of both classes. `where` names the place in errors.

    Raises:
        DataError: a split has not as many reviews of each label as it must have.
    """
    ordered: Reviews = {}
    for split in _SPLITS:
        found = reviews[split]
        counts = Counter(label for _, label in found)
        if counts != dict.fromkeys(range(len(CLASS_NAMES)), facts.reviews_per_class):
            each = ", ".join(
                f"{number:,} {CLASS_NAMES[label] if label in (0, 1) else f'of label {label}'}"
                for label, number in sorted(counts.items())
            )
            raise DataError(
                f"{where}: {split} of IMDB has {each or 'no'} reviews, "
                f"not {facts.reviews_per_class:,} of neg (0) and pos (1) each",
                remedy=_REMEDY,
            )
        keyed = sorted((text_sha256(text), label, text) for text, label in found)
        ordered[split] = [(text, label) for _, label, text in keyed]
    return ordered


def digests(reviews: Reviews) -> dict[str, str]:
    """For each split one hash over texts and labels in their order, 64 hex digits."""
    return {
        split: hashlib.sha256(
            b"".join(text_sha256(text) + bytes([label]) for text, label in pairs)
        ).hexdigest()
        for split, pairs in reviews.items()
    }


# --- the forms in which it comes ------------------------------------------------------------


def _read(folder: Path, facts: ImdbFacts, remedy: str = _REMEDY) -> Located[Reviews]:
    """The data set out of a folder, in whichever form it is there whole."""
    lacking = (
        "neither plain_text/{train,test}-*.parquet nor aclImdb/{train,test}/{neg,pos} is in it"
    )
    forms: list[tuple[str, dict[str, str], Callable[..., Reviews]]] = [
        ("plain_text", _TABLES, lambda files: {s: _read_table(files[s]) for s in _SPLITS}),
        ("aclImdb", _FOLDERS, _read_folders),
        ("", {"archive": facts.archive.name}, partial(_read_archive, facts=facts)),
        ("", {"reviews": KEPT}, lambda files: _read_kept(files["reviews"], facts)[0]),
    ]
    for below, names, read in forms:
        for root in (folder, folder / below):
            files = {key: root / name for key, name in names.items() if (root / name).exists()}
            if len(files) == len(names):
                reviews = gather(read(files), facts, folder)
                return Located(folder, files, reviews, f"folder {folder}")
            if files:
                missing = [name for key, name in names.items() if key not in files]
                lacking = f"{', '.join(missing)} is missing"
    raise DataError(f"{folder} does not hold IMDB: {lacking}", remedy=remedy)


def _read_table(path: Path) -> list[tuple[str, int]]:
    table, rows, names = open_table(path), [], ("text", "label")
    if any(table.columns.count(name) != 1 for name in names):
        raise DataError(f"{path} has no column text, or none called label", remedy=_REMEDY)
    for line, values in table.read(names, lambda _: None):
        match values:
            case (str() as text, int() as label):
                rows.append((text, label))
            case str() | (_, str()):
                raise DataError(f"{path}:{line} is no review of IMDB ({values})", remedy=_REMEDY)
    return rows


def _read_folders(folders: Mapping[str, Path]) -> Reviews:
    """The published text files, one for each review."""
    try:
        return _sorted_out(
            (f"{name}/{path.name}", path.read_bytes(), path)
            for name, folder in folders.items()
            for path in folder.glob("*.txt")
        )
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read: {error.strerror}", remedy="make it readable"
        ) from error


def _read_archive(files: Mapping[str, Path], facts: ImdbFacts) -> Reviews:
    """The published archive of text files, whose hash is checked before it is opened."""
    path = files["archive"]
    read_verified(facts.archive, path)
    with tarfile.open(path) as tar:
        return _sorted_out(
            (member.name, file.read(), path / member.name)
            for member in tar
            if member.isreg() and _REVIEW.fullmatch(member.name)
            if (file := tar.extractfile(member))
        )


def _sorted_out(files: Iterable[tuple[str, bytes, Path]]) -> Reviews:
    """Text files as (name, content, place) into splits and labels; no newline is translated."""
    reviews: Reviews = {split: [] for split in _SPLITS}
    for name, content, place in files:
        split, class_name, _ = name.split("/")[-3:]
        try:
            reviews[split].append((content.decode(), CLASS_NAMES.index(class_name)))
        except UnicodeDecodeError as error:
            raise DataError(f"{place} is not UTF-8", remedy="unpack the archive again") from error
    return reviews


# --- the cache ------------------------------------------------------------------------------


def _read_cache(cache: Path, facts: ImdbFacts) -> Located[Reviews] | None:
    path = cache / KEPT
    if not path.is_file():
        return None
    reviews, source = _read_kept(path, facts)
    return Located(cache, {"reviews": path}, reviews, f"cache: {path}, from the {source}")


def _read_kept(path: Path, facts: ImdbFacts) -> tuple[Reviews, str]:
    """The data set out of the cache's file, checked by its hashes, and where it came from."""
    rows: Reviews = {split: [] for split in _SPLITS}
    try:
        head, *lines = map(json.loads, gzip.decompress(path.read_bytes()).splitlines())
        for line in lines:
            rows[line["split"]].append((str(line["text"]), CLASS_NAMES.index(line["label"])))
        reviews = gather(rows, facts, path)
        if (head["format"], head["sha256"]) != (_FORMAT, digests(reviews)):
            raise ValueError("its texts do not match its hashes")
        return reviews, str(head["source"])
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error})", remedy="delete it") from error


def _write_kept(reviews: Reviews, path: Path, source: str) -> None:
    head = {"format": _FORMAT, "source": source, "sha256": digests(reviews)}
    rows = [
        {"split": split, "label": CLASS_NAMES[label], "text": text}
        for split, pairs in reviews.items()
        for text, label in pairs
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in [head, *rows])
    replace_file(path, gzip.compress(lines.encode(), 6, mtime=0))


def _keep(
    cache: Path, source: str, read: Callable[[], Reviews], facts: ImdbFacts
) -> Located[Reviews]:
    """What `read` fetches, or another process has fetched meanwhile, kept as one file."""
    with fetching(f"IMDB into {cache}", cache / ".fetching.lock", facts.policy):
        try:
            found = _read_cache(cache, facts)
        except DataError:  # noted before, and replaced now
            found = None
        if found is None:
            reviews = read()
            _write_kept(reviews, cache / KEPT, source)
            found = Located(cache, {"reviews": cache / KEPT}, reviews, source)
        (cache / facts.archive.name).unlink(missing_ok=True)
        return found
