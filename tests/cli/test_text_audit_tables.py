"""An audit of texts as a person reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qkv.cli.audit_output import PRINTED_GROUPS, print_text_audit
from qkv.data.audit import audit_texts

Capture = pytest.CaptureFixture[str]


def test_a_table_with_everything(tmp_path: Path, capsys: Capture) -> None:
    train = "".join(f"text number {n},{'[red]' if n % 2 else 'blue'}\n" for n in range(24))
    copies = "".join(f"copy {n},blue\n" * 2 for n in range(PRINTED_GROUPS + 2))
    (tmp_path / "train.csv").write_text(f"words,label\n{train}{copies}")
    (tmp_path / "test.csv").write_text(
        'words,label\ntext number 0,[red]\n"TEXT\nnumber 1",blue\nshort\n' + "many,blue\n" * 7
    )
    document = audit_texts(
        tmp_path,
        token_counts=lambda texts: np.array([len(text) for text in texts]),
        positions=15,
    )
    print_text_audit(document)
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["source", str(tmp_path.resolve())] in lines
    assert "columns   text 'words', label 'label'\ntexts     47\n" in out
    assert "columns guessed in train.csv: text 'words'" in out
    assert ["class", "train", "test"] in lines
    assert ["[red]", "12", "1"] in lines
    assert ["blue", "26", "8"] in lines
    assert ["all", "38", "9"] in lines
    assert "min 5 % 25 % 50 % 75 % 95 % 99 % max" in [" ".join(line) for line in lines]
    assert ["characters", "4"] in [line[:2] for line in lines]
    assert ["tokens", "4"] in [line[:2] for line in lines]
    assert "14 texts (29.79 %) longer than the encoder's 15 positions\n" in out
    assert "\nEqual texts\n  8 groups of 21 texts within a split\n" in out
    assert "    train.csv:26 = train.csv:27: copy 0\n" in out
    assert out.count(": copy ") == PRINTED_GROUPS
    assert "    and 3 more groups\n" in out
    assert "  1 group of 2 texts across splits\n    train.csv:2 = test.csv:2: text number 0" in out
    assert "Texts equal but for capitals and white space\n  none within a split\n" in out
    assert "    train.csv:3 = test.csv:3: text number 1\n" in out
    assert "Equal texts under different labels\n  1 group of 2 texts with several labels" in out
    assert "1 row cannot be used\n  test.csv:5 has 1 cell where the header has 2\n" in out
    assert "Warnings\n  1 text in more than one split: the test is not honest\n" in out


def test_a_sound_folder_is_told_in_few_lines(tmp_path: Path, capsys: Capture) -> None:
    for number in range(20):
        path = tmp_path / "ab"[number % 2] / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"text {number}")
    print_text_audit(audit_texts(tmp_path))
    out = capsys.readouterr().out
    for absent in ("columns", "tokens", "positions", "cannot be used", "Warnings", "labels"):
        assert absent not in out
    assert out.count("none within a split\n  none across splits\n") == 2


def test_names_and_texts_cannot_reach_the_terminal(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "a\x1b[31m.csv"
    path.write_text("text,label\n" + "x\x1b[2Jy,\x1b[31mred\n" * 2 + "\x1b,\n")
    print_text_audit(audit_texts(path))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\N{REPLACEMENT CHARACTER}[2Jy" in out


def test_many_copies_of_one_text(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + '"same\nthing",a\n' * 9 + "other,b\n")
    print_text_audit(audit_texts(path))
    expected = " = ".join(f"a.csv:{line}" for line in (2, 4, 6, 8, 10))
    assert f"    {expected} and 4 more: same thing\n" in capsys.readouterr().out
