"""What users build upon, as version 0.1.0 gave it: the API, the commands, the names, the runs.

A document that was meant to change is written anew by `QKV_FREEZE=1 pytest tests/contracts`, and
its difference stands in the commit. The runs and their predictions were made by 0.1.0 once, with
the encoder in `runs/bert`, and stay.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import qkv

HERE = Path(__file__).parent
PREDICTIONS: dict[str, Any] = json.loads((HERE / "predictions.json").read_text("utf-8"))
TASKS = {"vision": "vision", "text": "text", "text-gru": "text", "text-windows": "text"}
# Between float32 sums in another order; states of texts are rounded to float16 or int8, where a
# last bit of float32 decides about one step of 2^-11 or 2^-7 of an entry.
TOLERANCES = {"vision": 1e-5, "text": 2e-3}


def frozen(name: str, content: str) -> None:
    path = HERE / name
    if os.environ.get("QKV_FREEZE"):
        path.write_text(content, encoding="utf-8")
    assert content == path.read_text("utf-8"), f"{path.name} changed; meant to? See {__name__}"


def test_the_public_names() -> None:
    names = {name: parameters(getattr(qkv, name)) for name in sorted(qkv.__all__)}
    for run in ("vision", "text"):
        classifier = qkv.load(HERE / "runs" / run)
        for method in ("predict", "predict_proba", "predict_each"):
            names[f"load({run}).{method}"] = parameters(getattr(classifier, method))
    frozen("names.json", json.dumps(names, indent=1) + "\n")


def parameters(thing: Any) -> list[str]:
    """Names, kinds and defaults, without annotations."""
    if not callable(thing):
        return []
    described = inspect.signature(thing).parameters.values()
    return [str(each.replace(annotation=each.empty)) for each in described]


def test_the_help_of_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from qkv.cli import main

    monkeypatch.setenv("COLUMNS", "80")
    parts = []
    for words in commands(typer.main.get_command(main.app)):
        assert main.run([*words, "--help"]) == 0
        parts.append(f"$ {' '.join(('qkv', *words, '--help'))}\n{capsys.readouterr().out}")
    frozen("help.txt", "\n".join(parts))


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*words, name))


def test_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths, parameters, bodies, answers and the names of schemas; not the prose."""
    from qkv.serving.app import create_app
    from qkv.serving.models import open_models
    from qkv.serving.settings import ServingSettings

    monkeypatch.chdir(HERE / "runs")
    models = open_models([Path("vision"), Path("text")], device="cpu")
    document = create_app(models, ServingSettings()).openapi()
    document["info"].pop("version")
    frozen("openapi.json", json.dumps(without_prose(document), indent=1, sort_keys=True) + "\n")


def without_prose(node: Any) -> Any:
    if isinstance(node, dict):
        prose = ("description", "summary", "examples", "example")
        return {
            key: without_prose(value)
            for key, value in node.items()
            if not (key in prose and not isinstance(value, dict))
        }
    return [without_prose(value) for value in node] if isinstance(node, list) else node


@pytest.mark.parametrize("name", PREDICTIONS)
def test_runs_load_elsewhere_and_predict_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (name, "bert", "images"):
        shutil.copytree(HERE / "runs" / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)  # the text runs name their encoder ./bert
    classifier = qkv.load(tmp_path / name)
    known = PREDICTIONS[name]
    given = classifier.predict_proba(known["inputs"])
    tolerance = TOLERANCES[TASKS[name]]
    np.testing.assert_allclose(given, known["probabilities"], rtol=0, atol=tolerance)
    assert [answer.label for answer in classifier.predict(known["inputs"])] == [
        classifier.class_names[row.index(max(row))] for row in known["probabilities"]
    ]
