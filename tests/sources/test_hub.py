"""Files of the hub: found, kept, and every failure one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qkv.errors import DownloadError, MissingExtraError
from qkv.sources import hub_files
from small_hub import COMMIT, SmallHub

FILES = {"config.json": b'{"a": 1}', "deep/down/words.txt": b"words", "big.bin": b"x" * 5000}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    small = SmallHub("people/thing", FILES).use(monkeypatch, tmp_path / "hub")
    yield small
    small.close()


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_only_what_matches_is_fetched(hub: SmallHub, tmp_path: Path) -> None:
    got = hub_files("people/thing", ["config.json", "deep/*"], revision=None)
    assert got.revision == COMMIT
    assert names_in(got.folder) == {"config.json", "deep/down/words.txt"}
    assert (got.folder / "deep/down/words.txt").read_bytes() == b"words"
    assert got.folder.is_relative_to(tmp_path / "hub")


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_what_was_fetched_is_found_without_the_hub(hub: SmallHub, revision: str | None) -> None:
    first = hub_files("people/thing", ["config.json"], revision=revision)
    asked = len(hub.asked)
    assert hub_files("people/thing", ["config.json"], revision=revision, local_only=True) == first
    assert len(hub.asked) == asked
    hub.close()
    assert hub_files("people/thing", ["config.json"], revision=revision) == first


def test_files_in_the_cache_are_not_fetched_again(hub: SmallHub) -> None:
    hub_files("people/thing", ["*"], revision=COMMIT)
    asked = len(hub.asked)
    hub_files("people/thing", ["*"], revision=COMMIT)
    assert not any("/resolve/" in each for each in hub.asked[asked:])


def test_what_is_missing_in_the_cache_is_fetched(hub: SmallHub) -> None:
    hub_files("people/thing", ["config.json"], revision=COMMIT)
    with pytest.raises(DownloadError, match="no file called|holds it in part"):
        hub_files("people/thing", ["big.bin"], revision=COMMIT, local_only=True)
    got = hub_files("people/thing", ["*.json", "*.bin"], revision=COMMIT)
    assert names_in(got.folder) == {"config.json", "big.bin"}


def test_offline_by_the_hubs_own_variable(hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="not in the hub's cache and the network was not"):
        hub_files("people/thing", ["config.json"], revision=None)
    assert hub.asked == []


def test_a_data_set_is_in_a_name_space_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = SmallHub("people/thing", FILES, kind="dataset").use(monkeypatch, tmp_path)
    try:
        got = hub_files("people/thing", ["config.json"], revision=COMMIT, kind="dataset")
        assert names_in(got.folder) == {"config.json"}
        with pytest.raises(DownloadError, match=r"the model people/thing .*no such repository"):
            hub_files("people/thing", ["config.json"], revision=None)
    finally:
        hub.close()


def one_line(error: pytest.ExceptionInfo[DownloadError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("repository", "revision", "words"),
    [
        ("people/other", None, "the hub has no such repository"),
        ("people/thing", "v9", "the model people/thing at revision v9 .*no such revision"),
        ("../thing", None, "the hub allows no such name"),
        ("people/thing/more", None, "the hub allows no such name"),
    ],
)
def test_wrong_names(hub: SmallHub, repository: str, revision: str | None, words: str) -> None:
    with pytest.raises(DownloadError, match=words) as error:
        hub_files(repository, ["config.json"], revision=revision)
    one_line(error)


def test_a_repository_without_the_files(hub: SmallHub) -> None:
    with pytest.raises(DownloadError, match=r"it has no file called \*\.safetensors, x there"):
        hub_files("people/thing", ["*.safetensors", "x"], revision=None)


def test_a_pattern_does_not_leave_the_snapshot(hub: SmallHub) -> None:
    hub_files("people/thing", ["config.json"], revision=None)
    with pytest.raises(DownloadError, match="no file called"):
        hub_files("people/thing", ["../*/config.json"], revision=None)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("revision", [None, COMMIT])
def test_an_unreachable_hub(hub: SmallHub, revision: str | None) -> None:
    hub.close()
    with pytest.raises(DownloadError, match="could not be reached: .*refused") as error:
        hub_files("people/thing", ["config.json"], revision=revision)
    assert "name a local folder" in one_line(error)


def test_a_gated_repository(hub: SmallHub) -> None:
    hub.status, hub.error_code = 403, "GatedRepo"
    with pytest.raises(DownloadError, match="accept its terms there and set HF_TOKEN") as error:
        hub_files("people/thing", ["config.json"], revision=None)
    one_line(error)


def test_a_hub_in_trouble(hub: SmallHub) -> None:
    hub.status = 418
    with pytest.raises(DownloadError, match="could not be reached: .*418") as error:
        hub_files("people/thing", ["config.json"], revision=None)
    one_line(error)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"the model a/b .*pip install 'qkv\[text\]'"):
        hub_files("a/b", ["config.json"], revision=None)
