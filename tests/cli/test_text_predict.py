"""`qkv predict` for a model of texts: arguments, tables, standard input, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qkv as library
from qkv.cli.predict import line_batches, predict_lines
from qkv.cli.prediction_output import shortened
from qkv.predictions import FailedInput, Prediction

Call = Callable[..., Any]
CLASSES = ["bad", "fine", "good"]
TEXTS = ("the film was awful", "this movie was great! \N{GRINNING FACE}")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three texts, the one in the middle empty, beside a column that is no text."""
    path = tmp_path / "texts.csv"
    path.write_text('n,remark\n1,"the film\nwas awful"\n2,\n3,a great story\n')
    return path


def test_json_has_an_entry_for_each_text(qkv: Call, text_run: Path) -> None:
    outcome = qkv("predict", text_run, *TEXTS, "--json", "--batch-size", "1")
    assert outcome.code == 0, outcome.err
    entries = outcome.json["predictions"]
    assert [entry["input"] for entry in entries] == list(TEXTS)
    for entry in entries:
        assert set(entry) == {"input", "label", "probability", "probabilities"}
        assert list(entry["probabilities"]) == CLASSES
        assert sum(entry["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert entry["probabilities"][entry["label"]] == entry["probability"]
    (alone,) = qkv("predict", text_run, TEXTS[1], "--json").json["predictions"]
    assert alone["probability"] == pytest.approx(entries[1]["probability"], abs=1e-4)


def test_python_gives_the_same_answers(qkv: Call, text_run: Path) -> None:
    (entry,) = qkv("predict", text_run, TEXTS[0], "--json").json["predictions"]
    (answer,) = library.load(text_run).predict([TEXTS[0]])
    assert entry["label"] == answer.label
    assert entry["probability"] == pytest.approx(answer.probability, abs=1e-6)


def test_a_long_text_takes_one_line_of_the_table(qkv: Call, text_run: Path) -> None:
    long = "a film\nof \x1b[31m many\twords " * 20
    outcome = qkv("predict", text_run, long, "bad", "--top-k", "2")
    assert outcome.code == 0, outcome.err
    head, first, second = outcome.out.splitlines()
    assert head.split() == ["input", "class", "probability", "class", "probability"]
    assert first.startswith("a film of \ufffd[31m many words a film of")
    assert "\u2026  " in first
    assert len(head) == len(first) == len(second)
    assert first.count(" %") == second.count(" %") == 2


def test_an_empty_text_is_a_failed_input_among_the_others(qkv: Call, text_run: Path) -> None:
    outcome = qkv("predict", text_run, "a good film", " \n", "", "a bad film", "--json")
    assert outcome.code == 1
    entries = outcome.json["predictions"]
    assert entries[1] == {"input": "text 2", "error": "text 2 is empty"}
    assert entries[2] == {"input": "text 3", "error": "text 3 is empty"}
    assert [entry.get("label") is not None for entry in entries] == [True, False, False, True]
    assert outcome.err.endswith("qkv: 2 of 4 inputs could not be read\n")
    assert "error: is empty" in qkv("predict", text_run, "a", "").out


@pytest.mark.parametrize(
    "text", ["\udcff half", "[SEP] [CLS]", "\u05e9\u05dc\u05d5\u05dd", "\0", "?"]
)
def test_odd_texts_are_texts(qkv: Call, text_run: Path, text: str) -> None:
    outcome = qkv("predict", text_run, text, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["predictions"][0]["input"] == text
    assert qkv("predict", text_run, text).code == 0


def test_a_table_is_answered_row_by_row(qkv: Call, text_run: Path, table: Path) -> None:
    outcome = qkv("predict", text_run, "--file", table, "--text-column", "remark", "--json")
    assert outcome.code == 1
    entries = outcome.json["predictions"]
    assert [entry["input"] for entry in entries] == ["texts.csv:2", "texts.csv:4", "texts.csv:5"]
    assert entries[1]["error"] == "texts.csv:4 is empty"
    same = qkv("predict", text_run, "the film\nwas awful", "--json").json["predictions"][0]
    assert entries[0]["probability"] == pytest.approx(same["probability"], abs=1e-4)
    shown = qkv("predict", text_run, "--file", table, "--text-column", "remark")
    assert [line.split()[0] for line in shown.out.splitlines()] == [
        "input", "texts.csv:2", "texts.csv:4", "texts.csv:5",
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl", ".parquet"])
def test_every_kind_of_table_is_read(
    qkv: Call, text_run: Path, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"texts{suffix}"
    if suffix == ".tsv":
        path.write_text("text\tid\na good film\t1\n")
    elif suffix == ".jsonl":
        path.write_text('{"text": "a good film", "id": 1}\n')
    else:
        pyarrow.parquet.write_table(pyarrow.table({"text": ["a good film"], "id": [1]}), path)
    (entry,) = qkv("predict", text_run, "--file", path, "--json").json["predictions"]
    (same,) = qkv("predict", text_run, "a good film", "--json").json["predictions"]
    assert entry["probabilities"] == pytest.approx(same["probabilities"], abs=1e-5)


def test_answers_go_to_files_of_every_kind(
    qkv: Call, text_run: Path, table: Path, tmp_path: Path
) -> None:
    ask = ("predict", text_run, "--file", table, "--text-column", "remark", "--out")
    for suffix in (".csv", ".jsonl", ".parquet"):
        out = tmp_path / f"answers{suffix}"
        outcome = qkv(*ask, out)
        assert outcome.code == 1
        assert outcome.out == f"2 predictions in {out}\n"
    with (tmp_path / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["input"] for row in rows] == ["texts.csv:2", "texts.csv:4", "texts.csv:5"]
    assert rows[1]["error"] == "texts.csv:4 is empty"
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [line["input"] for line in lines] == [row["input"] for row in rows]
    typed = pyarrow.parquet.read_table(tmp_path / "answers.parquet")
    assert typed["label"].to_pylist() == [rows[0]["label"], None, rows[2]["label"]]


def test_lines_of_standard_input_are_texts(qkv: Call, text_run: Path) -> None:
    content = "\ufeffa good film\r\n\n   \nsch\u00f6n\n".encode() + b"a \xff film\na bad film"
    outcome = qkv("predict", text_run, "-", "--json", given=content)
    assert outcome.code == 1
    entries = outcome.json["predictions"]
    assert [entry["input"] for entry in entries] == [
        "a good film", "line 2", "line 3", "sch\u00f6n", "line 5", "a bad film",
    ]  # fmt: skip
    assert entries[1]["error"] == "line 2 is empty"
    assert entries[4]["error"] == "line 5 has a byte 0xff that is not UTF-8"
    assert outcome.err.endswith("qkv: 3 of 6 inputs could not be read\n")
    shown = qkv("predict", text_run, "-", given=content).out.splitlines()
    assert [line.split("  ")[0] for line in shown] == [
        "input", "a good film", "line 2", "line 3", "sch\u00f6n", "line 5", "a bad film",
    ]  # fmt: skip


def test_no_line_at_all_is_no_answer(qkv: Call, text_run: Path) -> None:
    outcome = qkv("predict", text_run, "-", "--json")
    assert (outcome.code, outcome.json) == (0, {"predictions": []})


@pytest.mark.skipif(os.name == "nt", reason="pipes of Windows end differently")
def test_an_answer_flows_out_before_the_next_line_comes(text_run: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "qkv", "predict", str(text_run), "-", "--top-k", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in ("a good film", "a bad film"):
            process.stdin.write(f"{text}\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if line.startswith("input "):
                line = process.stdout.readline()
            assert line.startswith(text)
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing argument 'INPUT...'. See qkv predict --help."),
        (("a", "--file", "t.csv"), "texts are given beside --file"),
        (("a", "--text-column", "text"), "name the table with --file"),
        (("-", "a"), "- reads standard input, and other texts are given beside it"),
        (("--file", "none.csv"), "there is no file none.csv"),
        (("--file", "notes.txt"), "notes.txt is not a table that can be read"),
        (("--file", "empty.csv"), "empty.csv has no rows"),
        (("--file", "two.csv"), "which column holds the texts"),
        (("--file", "two.csv", "--text-column", "c"), "two.csv has no column 'c'"),
        (("a film", "two.csv"), "classify its texts with --file two.csv"),
        (("notes.txt",), "notes.txt is a file, and its name was given as a text; give the text"),
        (("a film", "--out", "answers.txt"), "--out answers.txt does not say its format"),
        (("a film", "--batch-size", "0"), "'--batch-size'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    qkv: Call,
    text_run: Path,
    arguments: Sequence[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("a film")
    Path("empty.csv").write_text("text\n")
    Path("two.csv").write_text("a,b\nx,y\n")
    outcome = qkv("predict", text_run, *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("qkv: error: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


def test_what_is_no_file_is_a_text(qkv: Call, text_run: Path) -> None:
    for text in ("none.csv", "a" * 5000 + ".csv"):
        assert qkv("predict", text_run, text).code == 0


def test_rows_that_cannot_be_read_are_listed(qkv: Call, text_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_bytes(b"text\na film\nsch\xf6n\n")
    outcome = qkv("predict", text_run, "--file", path)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[1] == "  texts.csv:3: has a byte 0xf6 that is not UTF-8"


def test_the_options_of_texts_are_refused_for_images(
    qkv: Call, run: Path, photos: Path, table: Path
) -> None:
    for arguments in (("--file", table), (photos, "--text-column", "a")):
        outcome = qkv("predict", run, *arguments)
        assert (outcome.code, outcome.out) == (2, "")
        assert f"{arguments[-2]} is for models of texts" in outcome.err


def test_a_missing_encoder_is_said(qkv: Call, text_run_copy: Path, tmp_path: Path) -> None:
    config = json.loads((text_run_copy / "config.json").read_text())
    config["encoder"]["settings"]["name"] = str(tmp_path / "moved")
    (text_run_copy / "config.json").write_text(json.dumps(config))
    outcome = qkv("predict", text_run_copy, "a film")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"encoder folder {tmp_path / 'moved'} is not there" in outcome.err


PARTS = [b"a", b"\n", b"\r", b"\xc3", b"bc"]


class _Slow(io.BytesIO):
    """Gives what it has in given pieces, as a pipe does."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__(b"".join(pieces))
        self._sizes = iter([len(piece) for piece in pieces])

    def read1(self, size: int | None = -1, /) -> bytes:
        return self.read(min(next(self._sizes, 0), size or 0))


@given(
    st.lists(
        st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\xc3", b"bc"]), min_size=1).map(b"".join)
    ),
    st.integers(1, 3),
)
def test_lines_come_whole_however_they_are_cut(pieces: list[bytes], at_once: int) -> None:
    batches = list(line_batches(_Slow(pieces), at_once))
    content = b"".join(pieces)
    lines = content.split(b"\n")
    expected = lines[:-1] if not lines[-1] else lines
    assert [line for batch in batches for line in batch] == [
        line.removesuffix(b"\r") for line in expected
    ]
    assert all(1 <= len(batch) <= at_once for batch in batches)


class _Echo:
    """A classifier that answers with the text itself, and notes what it is asked together."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def predict_each(self, texts: Sequence[str], *, batch_size: int) -> Iterator[Prediction]:
        assert len(texts) <= batch_size
        self.asked.append(list(texts))
        return (Prediction(text, "a", 1.0, {"a": 1.0}) for text in texts)


def test_lines_are_answered_together_as_far_as_they_have_come() -> None:
    echo = _Echo()
    stream = _Slow([b"one\ntwo\nthr", b"ee\n\n", b"four"])
    answers = list(predict_lines(echo, stream, 2))  # type: ignore[arg-type]
    assert [answer.input for answer in answers] == ["one", "two", "three", "line 4", "four"]
    assert echo.asked == [["one", "two"], ["three"], ["four"]]


def test_an_endless_line_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qkv.cli.predict.LONGEST_LINE_BYTES", 10)
    stream = _Slow([b"x" * 8, *[b"y" * 8] * 1000, b"\nshort\n"])
    long, short = predict_lines(_Echo(), stream, 5)  # type: ignore[arg-type]
    assert isinstance(long, FailedInput)
    assert long.error == "line 1 has more than 10 bytes"
    assert short.input == "short"


@given(st.text(max_size=200), st.integers(2, 60))
def test_a_shortened_text_fills_its_width_and_no_more(text: str, width: int) -> None:
    from rich.cells import cell_len

    line = shortened(text, width)
    assert cell_len(line) == width
    assert line.isprintable()
    words = " ".join(text.split())
    if text.isascii() and text.isprintable():
        assert line == (words.ljust(width) if len(words) <= width else line)
        assert line.rstrip().endswith("\N{HORIZONTAL ELLIPSIS}") == (len(words) > width)
