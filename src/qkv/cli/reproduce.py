"""`qkv reproduce`: a reference recipe, with the reported figures beside ours."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qkv.cli.console import (
    accuracy_with_interval,
    percent,
    print_json,
    print_table,
    printable,
    results_console,
)
from qkv.cli.options import DataOption, JsonFlag, SettingsOption, split_words, the_one
from qkv.errors import QKVError, RunError

if TYPE_CHECKING:
    from qkv.evaluation.reported import ReportedRun
    from qkv.runs import Run


# The family of recipes whose `reference` repeats a reported run; s4 and s5 are their old names.
FAMILY_OF = {"fashion-mnist": "fashion-mnist", "imdb": "imdb", "s4": "fashion-mnist", "s5": "imdb"}
# All else makes two recipes different experiments.
NOT_DECIDING = {"description", "expected", "promise", "seed"}


def reproduce(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="fashion-mnist or imdb.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="The run's folder, runs/NAME-reference if not given; gone on with if it was "
            "stopped.",
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="imdb: the encoder, such as bert-base-uncased (the reported one); the same as "
            "--set encoder.name=NAME.",
            show_default=False,
        ),
    ] = None,
    settings: SettingsOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Train by a reference recipe and set the reported figures beside ours.

    fashion-mnist is a Vision Transformer, imdb a GRU on a frozen encoder.
    """
    from qkv.evaluation.reported import REPORTED

    names, overrides = split_words(words, settings)
    name = the_one(names, "qkv reproduce takes one NAME", "name one of fashion-mnist, imdb")
    if name not in FAMILY_OF:
        from qkv.settings import nearest

        raise QKVError(
            f"there are no reported figures called {name!r}",
            remedy=nearest(name, FAMILY_OF, what="names"),
        )
    family = FAMILY_OF[name]
    printed = REPORTED[family]
    if encoder is not None:
        if printed.encoder is None:
            raise QKVError(f"{name} has no encoder", remedy="leave out --encoder")
        overrides.append(f"encoder.name={encoder}")
    folder = name if name != family else f"{name}-reference"  # `qkv train` has the plain name
    run = _reference_run(family, overrides, out or Path("runs") / folder, data)
    (print_json if as_json else _print_comparison)(_comparison(name, printed, run, overrides))


def _reference_run(family: str, overrides: list[str], out: Path, data: Path | None) -> Run:
    from qkv.cli.progress import make_reporter
    from qkv.runs import Run
    from qkv.training import train as experiment
    from qkv.training.recipe import load_recipe

    recipe = load_recipe(family, "reference", overrides)
    with make_reporter() as reporter:
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return experiment.train(recipe, out=out, data=data, reporter=reporter)
        found, asked = Run.open(out).record().get("recipe", {}), recipe.model_dump(mode="json")
        keys = sorted({*found, *asked} - NOT_DECIDING)
        if other := [key for key in keys if found.get(key) != asked.get(key)]:
            raise RunError(
                f"{out} holds a run of another recipe (in {', '.join(other)})",
                remedy="choose another --out",
            )
        return experiment.resume(out, data=data, reporter=reporter)


SPLITS = ("train", "validation", "test")
PRINTED = (
    "encoder", "epochs", "test_loss", "test_accuracy", "parameters", "trainable_parameters",
    "train_seconds", "machine",
)  # fmt: skip
"""What is compared of a `ReportedRun`, in the order of the document."""


def _comparison(name: str, printed: ReportedRun, run: Run, overrides: list[str]) -> dict[str, Any]:
    """The document: `printed` and `ours` have the same keys, as far as they were reported."""
    record, config = run.record(), run.config()
    test, frozen = record["test"], record.get("encoder_parameters", 0)
    ours = {
        "encoder": config.get("encoder", {}).get("identity"),
        "epochs": [
            {key: entry.get(key) for key in printed.epochs[0]} for entry in record["epochs"]
        ],
        "test_loss": test.get("loss"),
        "test_accuracy": test["accuracy"],
        "test_accuracy_interval_95": test["accuracy_interval_95"],
        "parameters": frozen + record["parameters"],
        "trainable_parameters": record["parameters"],
        **{key: record[key] for key in ("train_seconds", "machine", "seed")},
    }
    remarks, encoder = list(printed.remarks), (ours["encoder"] or {}).get("name")
    # The hub's names have an owner before them.
    if printed.encoder and encoder and encoder.split("/")[-1] != printed.encoder:
        remarks.insert(
            0,
            f"our encoder is {encoder}, not {printed.encoder}, so the numbers of parameters "
            f"differ; qkv reproduce {name} --encoder {printed.encoder} takes the reported one",
        )
    return {
        "study": name,
        "title": printed.title,
        "run": str(run.path),
        "changed": overrides,
        "printed": {key: vars(printed)[key] for key in PRINTED if vars(printed)[key] is not None},
        "ours": {key: value for key, value in ours.items() if value is not None},
        "remarks": remarks,
    }


def _print_comparison(document: dict[str, Any]) -> None:
    printed, ours = document["printed"], document["ours"]
    console = results_console()
    console.print(f"{document['study']}: {document['title']}")
    figures = ("reported", "ours", "reported", "ours")
    for split in SPLITS:
        if f"{split}_loss" in printed["epochs"][0]:
            rows = [
                [str((theirs or entry)["epoch"]), *_figures(split, theirs, entry)]
                for theirs, entry in zip_longest(printed["epochs"], ours["epochs"])
            ]
            title = f"{split.capitalize()} split after each epoch: loss and accuracy"
            print_table(console, title, ("epoch", *figures), rows)
    if "test_loss" in printed:
        rows = [["test", *_figures("test", printed, ours)]]
        print_table(console, "Test split, kept weights: loss and accuracy", ("", *figures), rows)
    print_table(console, "Size and cost", ("", "reported", "ours"), _costs(printed, ours))
    accuracy = accuracy_with_interval(ours["test_accuracy"], ours["test_accuracy_interval_95"])
    machine = ours["machine"]
    lines = [
        f"ours: {accuracy}, seed {ours['seed']}, on {machine.get('processor')} "
        f"({machine.get('threads')} threads, {machine.get('device')}); reported: on "
        f"{printed['machine']}",
        *document["remarks"],
        *(f"changed: {override}" for override in document["changed"]),
        f"run: {document['run']}",
    ]
    console.print()
    for line in lines:
        console.print(printable(line), soft_wrap=True)


def _figures(split: str, *results: dict[str, Any] | None) -> list[str]:
    """Loss printed and ours, then accuracy printed and ours; a dash for what is not there."""
    losses = [(one or {}).get(f"{split}_loss") for one in results]
    accuracies = [(one or {}).get(f"{split}_accuracy") for one in results]
    shown = ["-" if loss is None else f"{loss:.4f}" for loss in losses]
    return shown + ["-" if share is None else percent(share) for share in accuracies]


def _costs(printed: dict[str, Any], ours: dict[str, Any]) -> list[list[str]]:
    rows = []
    if "encoder" in printed:
        rows.append(["encoder", printed["encoder"], ours["encoder"]["name"]])
    for key, name in (("parameters", "parameters"), ("trainable_parameters", "trainable")):
        if key in printed:
            rows.append([name, f"{printed[key]:,}", f"{ours[key]:,}"])
    for theirs, entry in zip_longest(printed["epochs"], ours["epochs"]):
        if theirs is not None and "seconds" in theirs:
            seconds = f"{entry['seconds']:,.2f}" if entry else "-"
            rows.append([f"seconds of epoch {theirs['epoch']}", f"{theirs['seconds']:,}", seconds])
    rows.append(["seconds", f"{printed['train_seconds']:,.2f}", f"{ours['train_seconds']:,.2f}"])
    return rows
