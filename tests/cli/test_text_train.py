"""`qkv train text`: from a table to a finished run, its summary, and its refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from small_reviews import write_reviews

Call = Callable[..., Any]
TinyText = tuple[str, ...]


def test_the_document_has_the_models_beside_each_other(text_trained: Any, text_run: Path) -> None:
    document = text_trained.json
    assert set(document) == {
        "run", "test", "figures", "seed", "parameters", "train_seconds",
        "models", "ngram_seconds", "encoder_parameters", "verdict",
    }  # fmt: skip
    record = json.loads((text_run / "run.json").read_text())
    assert record["status"] == "finished"
    for key in ("test", "models", "ngram_seconds", "verdict"):
        assert document[key] == record[key]
    assert set(document["models"]) == {"neural", "ngrams", "stacked"}
    assert document["encoder_parameters"] == record["encoder_parameters"] > 0
    assert document["parameters"] == record["parameters"] > 0
    assert all(Path(figure).is_file() for figure in document["figures"])
    assert "epoch 1  train loss" in text_trained.err


def test_the_summary_says_what_the_encoder_was_worth(qkv: Call, text_run: Path) -> None:
    outcome = qkv("train", "--resume", text_run)
    assert outcome.code == 0
    record = json.loads((text_run / "run.json").read_text())
    lines = [line.split(maxsplit=1) for line in outcome.out.splitlines() if line]
    found = {words[0]: words[-1] for words in lines}
    assert "95 % interval" in outcome.out
    assert " on 9 texts" in outcome.out
    for model, name in (("neural", "neural model"), ("stacked", "both stacked")):
        accuracy = record["models"][model]["test"]["accuracy"]
        assert f"{name:<15}{100 * accuracy:.2f} %\n" in outcome.out
    ngrams = record["models"]["ngrams"]["test"]["accuracy"]
    assert found["n-grams"].startswith(f"{100 * ngrams:.2f} %, fitted in ")
    assert f"{record['encoder_parameters']:,} parameters" in found["encoder"]
    assert found["parameters"] == f"{record['parameters']:,} trained"
    assert "confusion" in found["figures"]
    assert f"evaluate {text_run}" in outcome.out
    assert f'predict {text_run} "A text of yours."' in outcome.out
    assert f"data inspect {record['data']['folder']}" in outcome.out
    assert (record["verdict"] in outcome.out) if record["verdict"] else True


@pytest.mark.parametrize("verdict", ["", "the encoder does not beat a bag of n-grams"])
def test_a_verdict_is_printed_where_there_is_one(
    qkv: Call, text_run_copy: Path, verdict: str
) -> None:
    record = json.loads((text_run_copy / "run.json").read_text())
    (text_run_copy / "run.json").write_text(json.dumps({**record, "verdict": verdict}))
    for command in (("train", "--resume"), ("evaluate",)):
        out = qkv(*command, text_run_copy).out
        assert ("does not beat" in out) == bool(verdict)


def test_a_run_on_imdb_is_told_what_it_can_reproduce(qkv: Call, text_run_copy: Path) -> None:
    record = json.loads((text_run_copy / "run.json").read_text())
    record["recipe"]["data"]["dataset"] = "imdb"
    (text_run_copy / "run.json").write_text(json.dumps(record))
    assert "reproduce imdb" in qkv("train", "--resume", text_run_copy).out


def test_columns_are_named_and_bad_rows_are_left_out(
    qkv: Call, tiny_text: TinyText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = write_reviews(tmp_path / "table.csv", labels=("bad", "good"))
    rows = table.read_text().splitlines()
    rows = ["1,body,2"] + [f"{n},{row}" for n, row in enumerate(rows[1:])]
    table.write_text("\n".join([*rows, "40,,good", '41,"a film","good","x"', "42,a film,"]) + "\n")
    arguments = ("train", "text", "--data", table, *tiny_text)

    unclear = qkv(*arguments)
    assert (unclear.code, unclear.out) == (2, "")
    assert "it is not clear which column holds the labels" in unclear.err
    assert "--label-column" in unclear.err

    # A name that looks like a number is a name all the same.
    named = (*arguments, "--text-column", "body", "--label-column", "2")
    refused = qkv(*named)
    assert refused.code == 2
    first, *listed = refused.err.splitlines()
    assert first.startswith("qkv: error: 3 of 43 rows")
    assert "--skip-bad" in first
    assert [line.split(": ")[0] for line in listed] == [
        "  table.csv:42",
        "  table.csv:43",
        "  table.csv:44",
    ]
    assert not (tmp_path / "runs").exists()

    taken = qkv(*named, "--skip-bad")
    assert taken.code == 0, taken.err
    assert "left out       3 of the rows or files, named in run.json" in taken.out
    record = json.loads((tmp_path / "runs/table/run.json").read_text())
    assert record["recipe"]["data"]["label_column"] == "2"
    assert [item["path"] for item in record["data"]["skipped"]] == [
        f"table.csv:{line}" for line in (42, 43, 44)
    ]


def test_a_table_as_task_is_told_the_command(qkv: Call, reviews: Path, photos: Path) -> None:
    for path, kind in ((reviews, "text"), (reviews.parent, "text"), (photos, "vision")):
        outcome = qkv("train", path)
        assert (outcome.code, outcome.out) == (2, "")
        assert f"unknown task '{path}'" in outcome.err
        assert f"qkv train {kind} --data {path}" in outcome.err


def test_images_for_texts_and_texts_for_images_are_told_the_command(
    qkv: Call, reviews: Path, photos: Path
) -> None:
    for given, wrong, right, found in (
        (reviews, "vision", "text", "texts, not images"),
        (photos, "text", "vision", "images, not texts"),
        (reviews, "imdb", "text", "texts, not imdb"),
    ):
        outcome = qkv("train", wrong, "--data", given)
        assert (outcome.code, outcome.out) == (2, "")
        assert f"{given} holds {found}" in outcome.err
        assert f"qkv train {right} --data {given}" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "text"], "no texts were named; name a table or folder with --data PATH"),
        (["train", "text", "--data", "none.csv"], "there is no file or folder none.csv"),
        (["train", "txt"], "unknown task 'txt'; did you mean 'text'?"),
        (["train", "text", "--recipe", "fast"], "task 'text' has no recipe 'fast'"),
        (["train", "text", "--set", "encoder.nam=x"], "did you mean 'name'?"),
        (["train", "text", "--set", "head.kind=lstm"], "head"),
        (["train", "imdb", "--text-column", "body"], "are for tables, and imdb reads none"),
        (["train", "vision", "--label-column", "a"], "are for tables, and vision reads none"),
        (["train", "--resume", "run", "--text-column", "a"], "takes no --text-column"),
        (["train", "imdb", "--data", "nowhere"], "nowhere is not there"),
    ],
)
def test_a_mistake_in_the_command_is_one_line_and_exit_code_2(
    qkv: Call, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = qkv(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("qkv: error: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert list(tmp_path.iterdir()) == []


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "a.csv is empty (0 bytes)"),
        ("a.csv", b"text,label\n", "has no rows"),
        ("a.csv", b"text,label\na,x\nb,x\nc,x\n", "has a single class, 'x'"),
        ("a.csv", b"text,label\na,x\nb,x\nc,x\nd,y\n", "class 'y' has 1 distinct text"),
        ("a.csv", "text,label\nsch\u00f6n,x\n".encode("utf-16"), "is UTF-16 text, not UTF-8"),
        ("a.csv", b"text,label\nsch\xf6n,x\nfine,y\n", "a.csv:2 has a byte 0xf6 that is not UTF-8"),
        ("a.csv", b"text,label\na,x,extra\nb,y\n", "a.csv:2"),
        ("a.csv", b"text,label\n,x\nb,y\n", "a.csv:2 has no text"),
        ("a.csv", b"text,label\na,\nb,y\n", "a.csv:2 has no label"),
        ("a.csv", b"name,score\na,1\nb,2\n", "it is not clear which column"),
        ("a.jsonl", b'{"text": "a", "label": "x"}\n{"text": \n', "a.jsonl:2"),
        ("a.parquet", b"no", "a.parquet"),
        ("a.xlsx", b"PK\x03\x04", "export it as CSV"),
        ("a.json", b"[]", "end its name in .jsonl"),
    ],
)
def test_unfit_tables_are_refused_with_their_reason(
    qkv: Call, name: str, content: bytes, message: str, tiny_text: TinyText, tmp_path: Path
) -> None:
    table = _write(tmp_path / name, content)
    outcome = qkv("train", "text", "--data", table, "--out", tmp_path / "run", *tiny_text)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("qkv: error: ")
    assert message in outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "safetensors"),
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: (folder / "vocab.txt").unlink(), "has no tokenizer"),
    ],
)
def test_an_encoder_that_lacks_a_file_is_refused(
    qkv: Call,
    damage: Callable[[Path], None],
    message: str,
    tiny_text: TinyText,
    reviews: Path,
    tmp_path: Path,
) -> None:
    from tiny_bert import tiny_bert

    folder = tiny_bert(tmp_path / "bert")
    damage(folder)
    outcome = qkv(
        "train", "text", "--data", reviews, "--out", tmp_path / "run",
        *tiny_text, f"encoder.name={folder}",
    )  # fmt: skip
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert str(folder) in outcome.err
    assert not (tmp_path / "run").exists()
