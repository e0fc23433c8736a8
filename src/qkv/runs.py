"""The run folder: everything a result is, written so that a kill at any moment loses nothing.

    config.json          architecture, preprocessing and labels: enough to load the model
    model.safetensors    the kept weights
    run.json             recipe, seed, versions, data hashes, machine, timings, metrics
    log.jsonl            one line for every few steps and one for every epoch
    results.safetensors  test predictions and the images that the figures show
    README.md            the model card
    figures/             PNG and SVG
    resume/              the position of an unfinished training

Every file but the log is replaced as a whole. Tensor files carry a digest of their tensors, so
damage is noticed when they are read; it covers the facts in their header too. Nothing is ever
unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from qkv.errors import RunError
from qkv.files import locked, replace_file, unwritable

CONFIG, RECORD, LOG = "config.json", "run.json", "log.jsonl"
WEIGHTS, RESULTS, CARD = "model.safetensors", "results.safetensors", "README.md"
POSITION = "resume/position.safetensors"
FORMAT = 1


class Run:
    """One run folder. Reading methods raise RunError when a file is missing or damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, *, config: Mapping[str, Any], record: Mapping[str, Any]) -> Run:
        """Make a new run folder with its config and first record.

        Raises:
            RunError: the folder exists and is not empty, or cannot be written.
        """
        cls.require_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"cannot create {path}: {error}", remedy="choose another --out"
            ) from None
        run = cls(path)
        run.write_record(record)
        run._write_json(CONFIG, config)
        return run

    @staticmethod
    def require_free(path: Path) -> None:
        """See that a new run can be made in that folder.

        Raises:
            RunError: the folder exists and is not empty.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            resumable = (path / CONFIG).is_file()
            raise RunError(
                f"{path} exists already",
                remedy=(f"resume it with --resume {path} or " if resumable else "")
                + "choose another folder with --out",
            )

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """An existing run folder.

        Raises:
            RunError: there is no run in that folder.
        """
        path = Path(path)
        if not (path / CONFIG).is_file():
            raise RunError(
                f"{path} is not a run folder: it has no {CONFIG}",
                remedy="name a folder made by qkv train",
            )
        return cls(path)

    @property
    def figures_folder(self) -> Path:
        """Where figures lie."""
        return self.path / "figures"

    def config(self) -> dict[str, Any]:
        """What is needed to load the model."""
        return self._read_json(CONFIG)

    def record(self) -> dict[str, Any]:
        """What happened: recipe, data, machine, epochs, test figures."""
        return self._read_json(RECORD)

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replace run.json."""
        self._write_json(RECORD, {"format": FORMAT, **record})

    def update_record(self, **changes: Any) -> None:
        """Replace the named entries of run.json."""
        self.write_record({**self.record(), **changes})

    def has_weights(self) -> bool:
        """Whether an epoch has been completed, so that a model can be loaded."""
        return (self.path / WEIGHTS).is_file()

    def save_weights(self, tensors: Mapping[str, Tensor], **facts: Any) -> None:
        """Replace model.safetensors; `facts` (epoch, metrics) are kept in its header."""
        self.save_tensors(WEIGHTS, tensors, facts)

    def weights(self) -> dict[str, Tensor]:
        """The kept weights by parameter name."""
        if not self.has_weights():
            raise RunError(
                f"{self.path} has no weights yet",
                remedy=f"finish it with qkv train --resume {self.path}",
            )
        return self.tensors(WEIGHTS)

    def save_position(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Replace the position that training can resume from."""
        self.save_tensors(POSITION, tensors, facts)

    def position(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The saved position as (tensors, facts); None before the first one is saved."""
        if not (self.path / POSITION).is_file():
            return None
        return self._read_tensors(POSITION)

    def clear_position(self) -> None:
        """Forget the position of a finished training."""
        position = self.path / POSITION
        position.unlink(missing_ok=True)
        if position.parent.is_dir() and not any(position.parent.iterdir()):
            position.parent.rmdir()

    def update_config(self, **changes: Any) -> None:
        """Replace the named entries of config.json."""
        self._write_json(CONFIG, {**self.config(), **changes})

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of a file, by name."""
        return self._read_tensors(name)[0]

    def save_results(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the test predictions and the images that figures show."""
        self.save_tensors(RESULTS, tensors)

    def results(self) -> dict[str, Tensor]:
        """Test predictions and the images that figures show."""
        return self.tensors(RESULTS)

    def append_log(self, entry: Mapping[str, Any]) -> None:
        """Add one line to log.jsonl."""
        path = self.path / LOG
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise unwritable(path, error) from None

    def log(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl; a last line cut short by a kill is left out."""
        path = self.path / LOG
        if not path.is_file():
            return []
        entries = []
        for line in path.read_bytes().splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:  # not JSON, or not even text
                break
        return entries

    def truncate_log(self, step: int) -> None:
        """Drop the lines after `step`: a resumed run writes them again."""
        kept = [entry for entry in self.log() if entry["step"] <= step]
        self._replace(LOG, "".join(json.dumps(entry) + "\n" for entry in kept).encode())

    def write_card(self, text: str) -> None:
        """Replace the model card."""
        self._replace(CARD, text.encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this folder.

        Raises:
            RunError: another process holds the folder.
        """
        busy = RunError(
            f"another process is training in {self.path}", remedy="wait for it or stop it"
        )
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path / ".lock", busy=busy, timeout_seconds=0))
            except OSError as error:
                raise unwritable(self.path, error) from None
            yield

    def _write_json(self, name: str, document: Mapping[str, Any]) -> None:
        self._replace(name, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{path} is missing", remedy="name a complete run folder") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read: {error}", remedy="restore the file") from None
        if not isinstance(document, dict):
            raise RunError(f"{path} is not a JSON object", remedy="restore the file")
        return document

    def save_tensors(
        self, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any] | None = None
    ) -> None:
        """Replace a tensor file, with facts in its header."""
        plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        header = {"facts": json.dumps(facts or {})}
        header["digest"] = _digest(plain, header["facts"])
        self._replace(name, safetensors.torch.save(plain, header))

    def _read_tensors(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        path = self.path / name
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            raise RunError(f"{path} is missing", remedy="name a complete run folder") from None
        except (OSError, SafetensorError) as error:
            raise RunError(f"{path} is damaged: {error}", remedy="restore the file") from None
        facts = header.get("facts", "")
        if header.get("digest") != _digest(tensors, facts):
            raise RunError(
                f"{path} is damaged: its content does not match its digest",
                remedy="restore the file",
            )
        return tensors, json.loads(facts)

    def _replace(self, name: str, content: bytes) -> None:
        replace_file(self.path / name, content)


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    """sha256 over the facts and over names, dtypes, shapes and bytes, in the order of names."""
    digest = hashlib.sha256(f"{facts}\n".encode())
    for key in sorted(tensors):
        tensor = tensors[key]
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(safetensors.torch.save({"": tensor}))
    return digest.hexdigest()
