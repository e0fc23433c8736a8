"""The files of an encoder in a folder, found complete and hashed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qkv.errors import DataError
from qkv.text.tokenizer_files import DEFINITION, TOKENIZER_FILES, VOCABULARY

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
SHARDS = "model-*-of-*.safetensors"
PATTERNS = (CONFIG, WEIGHTS, INDEX, SHARDS, *TOKENIZER_FILES)
"""What is fetched of a model of the hub."""

_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "model.ckpt.index")
_REMEDY = "name a folder with config.json, model.safetensors and the tokenizer's files"


@dataclass(frozen=True)
class EncoderFiles:
    """An encoder on this machine.

    Attributes:
        name: what it is called: the hub's full name, else the name of its folder.
        folder: where its files are.
        revision: the hub's commit; None for what does not come from the hub.
        weights_sha256: hash of the weights; of several files, of the list of their hashes.
        config_sha256: hash of config.json.
        source: where it was found, in words.
        files: config.json and the weights, by file name.
    """

    name: str
    folder: Path
    revision: str | None
    weights_sha256: str
    config_sha256: str
    source: str
    files: Mapping[str, Path]

    @property
    def config(self) -> Path:
        """The architecture."""
        return self.files[CONFIG]

    @property
    def weights(self) -> tuple[Path, ...]:
        """The files that hold tensors."""
        return tuple(p for name, p in sorted(self.files.items()) if name.endswith(".safetensors"))


def read_folder(folder: Path, *, name: str, revision: str | None, source: str) -> EncoderFiles:
    """What a folder holds of an encoder.

    Raises:
        DataError: something is missing or unreadable; says what.
    """
    check_complete(folder)
    files = {CONFIG: folder / CONFIG, **{path.name: path for path in weight_files(folder)}}
    try:
        hashes = {file: _sha256(path) for file, path in files.items()}
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read: {error.strerror or error}", remedy="make it readable"
        ) from error
    config_sha256 = hashes.pop(CONFIG)
    return EncoderFiles(
        name=name,
        folder=folder,
        revision=revision,
        weights_sha256=_together(hashes),
        config_sha256=config_sha256,
        source=source,
        files=files,
    )


def check_complete(folder: Path) -> None:
    """See that a folder holds architecture, weights and tokenizer.

    Raises:
        DataError: it lacks one; says which.
    """
    if not (folder / CONFIG).is_file():
        raise DataError(f"{folder} is no encoder: it has no {CONFIG}", remedy=_REMEDY)
    weight_files(folder)
    if not any((folder / file).is_file() for file in (DEFINITION, VOCABULARY)):
        raise DataError(
            f"{folder} has no tokenizer: neither {DEFINITION} nor {VOCABULARY}", remedy=_REMEDY
        )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder.

    Raises:
        DataError: there are none, or the index of several is damaged or names what is not there.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        pickled = [file for file in _PICKLED if (folder / file).is_file()]
        beside = f", only {pickled[0]}, and qkv reads nothing but safetensors" if pickled else ""
        raise DataError(
            f"{folder} has no {WEIGHTS}{beside}",
            remedy="save the model with transformers, which writes safetensors"
            if pickled
            else _REMEDY,
        )
    try:
        index = json.loads((folder / INDEX).read_bytes())
        names = sorted(set(index["weight_map"].values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / INDEX} is damaged: {error}", remedy=_REMEDY) from None
    for name in names:
        if not isinstance(name, str) or not _SHARD.fullmatch(name):
            raise DataError(f"{folder / INDEX} names {name!r}, no plain file", remedy=_REMEDY)
        if not (folder / name).is_file():
            raise DataError(f"{folder} lacks {name} of its weights", remedy=_REMEDY)
    if not names:
        raise DataError(f"{folder / INDEX} names no file", remedy=_REMEDY)
    return [folder / name for name in names]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _together(hashes: Mapping[str, str]) -> str:
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
