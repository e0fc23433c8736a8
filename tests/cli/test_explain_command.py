"""`qkv explain`: images and texts, figures and documents, and what it refuses."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import qkv as library
from qkv.cli import explanation_output as explanation_tables
from qkv.cli.explanation_output import image_picture, text_picture
from qkv.explanation.explain import methods_of

Call = Callable[..., Any]
TEXT = "the film was good, but this book was awful"


@pytest.fixture(scope="session")
def image(photos: Path) -> Path:
    return photos / "blue" / "0.png"


@pytest.fixture(scope="session")
def image_document(qkv: Call, run: Path, image: Path) -> Any:
    outcome = qkv("explain", run, image, "--json")
    assert outcome.code == 0, outcome.err
    return outcome.json


@pytest.fixture(scope="session")
def text_document(qkv: Call, text_run: Path) -> Any:
    outcome = qkv("explain", text_run, TEXT, "--json")
    assert outcome.code == 0, outcome.err
    return outcome.json


def test_an_image_is_explained_for_its_answer(
    qkv: Call, run: Path, image: Path, image_document: Any
) -> None:
    (answer,) = library.load(run).predict([image])
    assert image_document["task"] == "vision"
    assert image_document["label"] == answer.label
    assert image_document["probability"] == pytest.approx(answer.probability, abs=1e-6)
    assert np.shape(image_document["heat"]) == (8, 8)
    outcome = qkv("explain", run, image)
    assert outcome.code == 0
    assert f"answer        {answer.label}" in outcome.out
    assert "Strongest patches" in outcome.out
    assert "at random" in outcome.out
    assert "▀" not in outcome.out  # no picture where there is no terminal
    assert "explained" not in outcome.out


def test_a_text_is_explained_word_by_word(qkv: Call, text_run: Path, text_document: Any) -> None:
    (answer,) = library.load(text_run).predict([TEXT])  # type: ignore[list-item]
    assert text_document["task"] == "text"
    assert text_document["label"] == answer.label
    assert [word["text"] for word in text_document["words"]][:4] == ["the", "film", "was", "good"]
    outcome = qkv("explain", text_run, TEXT)
    assert "Strongest words" in outcome.out
    values = text_document["contributions"]
    strongest = text_document["words"][int(np.argmax(values))]["text"]
    row = outcome.out.split("Strongest words\n")[1].splitlines()[1]
    assert row.startswith(strongest)


def test_standard_input_is_one_text(qkv: Call, text_run: Path, text_document: Any) -> None:
    given = ("\ufeff" + TEXT.replace(" but", "\nbut")).encode()
    outcome = qkv("explain", text_run, "-", "--json", given=given)
    assert outcome.code == 0, outcome.err
    assert len(outcome.json["words"]) == len(text_document["words"])
    assert outcome.json["probability"] == pytest.approx(text_document["probability"], abs=1e-6)


def test_another_class_and_method_and_seed(qkv: Call, run: Path, image: Path) -> None:
    (answer,) = library.load(run).predict([image])
    label = min(answer.probabilities, key=answer.probabilities.__getitem__)
    asked = ("--class", label, "--method", "occlusion", "--seed", "3")
    outcome = qkv("explain", run, image, *asked, "--json")
    assert outcome.json["label"] == label
    assert outcome.json["method"] == "occlusion"
    again = qkv("explain", run, image, *asked, "--json")
    assert again.json["faithfulness"] == outcome.json["faithfulness"]
    other = qkv("explain", run, image, *asked[:-1], "4", "--json")
    assert other.json["faithfulness"]["deletion_area"] == pytest.approx(
        outcome.json["faithfulness"]["deletion_area"]
    )
    assert other.json["faithfulness"] != outcome.json["faithfulness"]
    assert f"explained     {label}" in qkv("explain", run, image, *asked).out


@pytest.mark.parametrize("task", ["vision", "text"])
@pytest.mark.parametrize("suffix", [".png", ".SVG", ".json"])
def test_out_writes_a_figure_or_the_document(
    qkv: Call, run: Path, text_run: Path, image: Path, tmp_path: Path, task: str, suffix: str
) -> None:
    asked = (run, image) if task == "vision" else (text_run, TEXT)
    out = tmp_path / f"explained{suffix}"
    outcome = qkv("explain", *asked, "--out", out)
    assert outcome.code == 0, outcome.err
    assert f"written to {out}" in outcome.out
    assert list(tmp_path.iterdir()) == [out]
    if suffix == ".json":
        document = json.loads(out.read_text())
        assert document["task"] == task
        assert set(document) == set(qkv("explain", *asked, "--json").json)
    elif suffix == ".png":
        with Image.open(out) as picture:
            assert picture.size[0] == 1500
    else:
        assert ElementTree.parse(out).getroot().tag.endswith("svg")


def test_json_beside_out_is_only_the_document(
    qkv: Call, run: Path, image: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.svg"
    outcome = qkv("explain", run, image, "--out", out, "--json")
    assert outcome.json["task"] == "vision"
    assert out.exists()
    assert outcome.out.count("\n") == 1


def test_attention_of_a_layer_and_head_from_a_patch(qkv: Call, run: Path, image: Path) -> None:
    asked = ("--layer", "1", "--head", "1", "--query", "1,2")
    outcome = qkv("explain", run, image, *asked, "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.json
    assert document["method"] == "attention, layer 1, head 1, from 1,2"
    assert not document["signed"]
    classifier: Any = library.load(run)
    from qkv.explanation.vision_attention import attention_map

    side = document["grid_size"]
    pixels = classifier.read(image, name="image")
    grid = attention_map(classifier, pixels, 0, 1, 1)
    np.testing.assert_allclose(document["contributions"], grid.reshape(-1), atol=1e-6)
    step = 8 // side
    np.testing.assert_allclose(np.array(document["heat"])[::step, ::step], grid, atol=1e-6)
    mean = qkv("explain", run, image, "--layer", "1", "--method", "attention", "--json").json
    plain = qkv("explain", run, image, "--method", "attention", "--json").json
    np.testing.assert_allclose(mean["contributions"], plain["contributions"], atol=1e-6)
    assert mean["faithfulness"] == plain["faithfulness"]


def test_attention_from_a_word(qkv: Call, text_run: Path) -> None:
    outcome = qkv("explain", text_run, TEXT, "--layer", "1", "--query", "GOOD", "--json")
    assert outcome.code == 0, outcome.err
    values = outcome.json["contributions"]
    assert min(values) >= 0
    assert 0 < sum(values) < 1  # the rest goes to special tokens
    mean = qkv("explain", text_run, TEXT, "--layer", "1", "--json").json
    assert mean["contributions"] != values
    assert 0 < sum(mean["contributions"]) < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "occlsion"], "did you mean 'occlusion'?"),
        (["--class", "bleu"], "the model knows no class 'bleu'; did you mean 'blue'?"),
        (["--out", "map.gif"], "map.gif does not say its format; end its name in one of .png"),
        (["--out", "nowhere/map.png"], "cannot write nowhere/map.png: there is no folder nowhere"),
        (["--layer", "7"], "there is no layer 7; name one from 1 to 1"),
        (["--layer", "0"], "--layer"),
        (["--layer", "1", "--query", "9,9"], "there is no patch '9,9'; name its row"),
        (["--layer", "1", "--query", "one"], "there is no patch 'one'; name its row"),
        (["--head", "1"], "--head and --query are of a layer; name it with --layer"),
        (["--layer", "1", "--method", "rollout"], "--layer is for attention, not for rollout"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_mistakes_are_one_line(
    qkv: Call, run: Path, image: Path, arguments: list[str], message: str
) -> None:
    outcome = qkv("explain", run, image, *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


def test_what_is_no_image_is_refused(qkv: Call, run: Path, photos: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"bad")
    for given, message in (
        (photos, f"{photos} is a folder; name one image"),
        (tmp_path / "none.png", "none.png"),
        (bad, "bad.png"),
    ):
        outcome = qkv("explain", run, given)
        assert (outcome.code, outcome.out) == (2, "")
        assert message in outcome.err


def test_what_is_no_text_is_refused(qkv: Call, text_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "review.txt"
    file.write_text(TEXT)
    for given, content, message in (
        (str(file), b"", f"{file} is a file, and its name was given as a text"),
        ("  ", b"", "the text is empty"),
        ("-", b" \n", "standard input is empty"),
        ("-", b"a \xff film", "standard input has a byte 0xff that is not UTF-8"),
    ):
        outcome = qkv("explain", text_run, given, given=content)
        assert (outcome.code, outcome.out) == (2, "")
        assert message in outcome.err
    outcome = qkv("explain", text_run, TEXT, "--layer", "1", "--query", "boook")
    assert "there is no word 'boook' among those that are read; did you mean 'book'?" in outcome.err


def test_out_is_refused_before_anything_is_computed(qkv: Call, tmp_path: Path, image: Path) -> None:
    locked = tmp_path / "folder.png"
    locked.mkdir()
    outcome = qkv("explain", tmp_path / "no-run", image, "--out", locked)
    assert f"cannot write {locked}: it is a folder" in outcome.err
    assert list(tmp_path.iterdir()) == [locked]


def test_every_method_that_is_offered_works(
    qkv: Call, run: Path, text_run: Path, image: Path
) -> None:
    for folder, given in ((run, image), (text_run, TEXT)):
        for method in methods_of(library.load(folder)):
            outcome = qkv("explain", folder, given, "--method", method, "--json")
            assert outcome.code == 0, (method, outcome.err)
            assert outcome.json["method"] == method
            has_gap = outcome.json["completeness_gap"] is not None
            assert has_gap == method.endswith("-gradients")


def test_evaluate_measures_explanations(qkv: Call, run: Path) -> None:
    asked = ("evaluate", run, "--explanations", "--sample", "2", "--methods", "occlusion, rollout")
    outcome = qkv(*asked, "--json")
    assert outcome.code == 0, outcome.err
    assert list(outcome.json["methods"]) == ["occlusion", "rollout"]
    assert outcome.json["examples"] == 2
    table = qkv(*asked).out
    assert "Explanations of 2 images" in table
    rows = [line.split() for line in table.splitlines() if line.startswith(("occl", "roll"))]
    scores = {name: entry["score"] for name, entry in outcome.json["methods"].items()}
    assert [row[0] for row in rows] == sorted(scores, key=lambda name: -scores[name])
    assert {row[0]: row[1] for row in rows} == {
        name: f"{score:.3f}" for name, score in scores.items()
    }


def test_evaluate_measures_explanations_of_another_table(
    qkv: Call, text_run: Path, tmp_path: Path
) -> None:
    table = tmp_path / "others.csv"
    table.write_text("body,grade,mark\na film,good,1\na book,bad,2\n,bad,3\n")
    asked = ("evaluate", text_run, "--explanations", "--methods", "occlusion", "--data", table)
    columns = ("--text-column", "body", "--label-column", "grade")
    assert qkv(*asked, *columns).code == 2
    outcome = qkv(*asked, *columns, "--skip-bad", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["examples"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sample", "3"], "--sample is for explanations; add --explanations"),
        (["--methods", "rollout"], "--methods is for explanations; add --explanations"),
        (["--explanations", "--methods", "rolout"], "did you mean 'rollout'?"),
        (["--explanations", "--methods", ","], "no method is named; name some of attention"),
        (["--explanations", "--sample", "0"], "--sample"),
    ],
)
def test_mistakes_of_evaluate(qkv: Call, run: Path, arguments: list[str], message: str) -> None:
    outcome = qkv("evaluate", run, *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


def shown(monkeypatch: pytest.MonkeyPatch, document: Any, width: int = 80) -> str:
    """What a terminal with all colours is sent."""
    stream = io.StringIO()
    console = Console(
        file=stream, force_terminal=True, color_system="truecolor", width=width, markup=False,
        highlight=False,
    )  # fmt: skip
    monkeypatch.setattr(explanation_tables, "results_console", lambda: console)
    monkeypatch.setattr(explanation_tables, "draws", lambda stream: stream is sys.stdout)
    explanation_tables.print_explanation(document)
    return stream.getvalue()


def test_a_terminal_shows_the_image_and_the_text_themselves(
    monkeypatch: pytest.MonkeyPatch, image_document: Any, text_document: Any
) -> None:
    picture = shown(monkeypatch, image_document)
    assert picture.count("▀") == 2 * 8 * 4  # two pictures of 8 by 8 pixels, two pixels a letter
    text = shown(monkeypatch, text_document)
    assert "48;2;" in text  # a coloured ground
    plain = text_picture(text_document, 80).plain
    assert plain == TEXT


def test_pictures_suit_the_width_and_the_pixels(image_document: Any) -> None:
    narrow = image_picture(image_document, 12).plain.splitlines()
    assert narrow == ["▀" * 8] * 4
    side = 90
    large = {
        **image_document,
        "pixels": np.zeros((side, side, 3), dtype=np.uint8).tolist(),
        "heat": np.ones((side, side)).tolist(),
    }
    lines = image_picture(large, 100).plain.splitlines()
    assert lines == ["▀" * 32 + "    " + "▀" * 32] * 16
    first = image_picture(large, 100).spans[0]
    assert str(first.style) == "#000000 on #000000"


def test_control_characters_of_a_text_do_not_reach_the_terminal(
    monkeypatch: pytest.MonkeyPatch, text_document: Any
) -> None:
    text = "good\x1b[31m film"
    words = [
        {"text": "good\x1b[31m", "start": 0, "end": 9},
        {"text": "film", "start": 10, "end": 14},
    ]
    document = {
        **text_document, "text": text, "words": words, "contributions": [1.0, -1.0], "read": 2,
    }  # fmt: skip
    assert "\x1b[31m" not in shown(monkeypatch, document)


def test_a_long_text_is_cut_in_the_terminal(text_document: Any) -> None:
    texts = [f"word{number}" for number in range(2000)]
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])[:-1]
    words = [
        {"text": text, "start": int(start), "end": int(start) + len(text)}
        for text, start in zip(texts, starts, strict=True)
    ]
    values = [0.001] * 2000
    values[1234] = -1.0
    document = {
        **text_document,
        "text": " ".join(texts),
        "words": words,
        "contributions": values,
        "read": 2000,
    }
    plain = text_picture(document, 80).plain
    assert "word1230 word1231 word1232 word1233 word1234" in plain
    assert plain.endswith("2,000 words; … stands for those that matter less")
    assert len(plain.split()) < 700
