"""`qkv reproduce`: run what the source ran, and set its printed figures beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qkv.cli.console import print_json, printable, results_console
from qkv.cli.options import DataOption, JsonFlag
from qkv.cli.wording import accuracy_with_interval, percent
from qkv.errors import QKVError, RunError
from qkv.printed import S4, PrintedRun

if TYPE_CHECKING:
    from qkv.runs import Run

STUDIES = {"s4": S4}
# What makes two recipes the same experiment; a description or a promise does not.
DECIDING = ("task", "data", "model", "augment", "training")


def reproduce(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="s4.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="The run's folder, runs/STUDY if not given; gone on with if it was stopped.",
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Train as the source did (s4: a Vision Transformer on Fashion-MNIST) and compare."""
    if study not in STUDIES:
        from qkv.settings import nearest

        raise QKVError(
            f"there is no study {study!r}", remedy=nearest(study, STUDIES, what="studies")
        )
    run = _reference_run(out or Path("runs") / study, data)
    document = _comparison(study, STUDIES[study], run)
    if as_json:
        print_json(document)
    else:
        _print_comparison(document)


def _reference_run(out: Path, data: Path | None) -> Run:
    """The finished run of the reference recipe in `out`: there already, gone on with, or new."""
    from qkv import experiment
    from qkv.cli.reporter import make_reporter
    from qkv.runs import Run
    from qkv.training.recipe import load_recipe

    recipe = load_recipe("fashion-mnist", "reference")
    with make_reporter("bytes") as reporter:
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return experiment.train(recipe, out=out, data=data, reporter=reporter)
        found, asked = Run.open(out).record().get("recipe", {}), recipe.model_dump(mode="json")
        if any(found.get(key) != asked[key] for key in DECIDING):
            raise RunError(f"{out} holds a run of another recipe", remedy="choose another --out")
        return experiment.resume(out, data=data, reporter=reporter)


def _comparison(study: str, printed: PrintedRun, run: Run) -> dict[str, Any]:
    record = run.record()
    return {
        "study": study,
        "title": printed.title,
        "run": str(run.path),
        "printed": {
            "epochs": [vars(epoch) for epoch in printed.epochs],
            "parameters": printed.parameters,
            "train_seconds": printed.train_seconds,
            "machine": printed.machine,
        },
        "ours": {
            "epochs": [
                {key: entry.get(key) for key in ("epoch", "test_loss", "test_accuracy")}
                for entry in record["epochs"]
            ],
            "parameters": record["parameters"],
            "train_seconds": record["train_seconds"],
            "machine": record["machine"],
            "seed": record["seed"],
            "test_accuracy": record["test"]["accuracy"],
            "test_accuracy_interval_95": record["test"]["accuracy_interval_95"],
        },
    }


def _print_comparison(document: dict[str, Any]) -> None:
    from qkv.cli.tables import print_table

    printed, ours = document["printed"], document["ours"]
    console = results_console()
    console.print(f"{document['study'].upper()}: {document['title']}")
    print_table(
        console,
        "Test split after each epoch: loss and accuracy",
        ("epoch", "printed", "ours", "printed", "ours"),
        (
            [
                str(theirs["epoch"]),
                f"{theirs['test_loss']:.4f}",
                f"{entry['test_loss']:.4f}",
                percent(theirs["test_accuracy"]),
                percent(entry["test_accuracy"]),
            ]
            for theirs, entry in zip(printed["epochs"], ours["epochs"], strict=True)
        ),
    )
    print_table(
        console,
        "Size and cost",
        ("", "printed", "ours"),
        (
            ["parameters", f"{printed['parameters']:,}", f"{ours['parameters']:,}"],
            ["seconds", f"{printed['train_seconds']:,.2f}", f"{ours['train_seconds']:,.2f}"],
        ),
    )
    accuracy = accuracy_with_interval(ours["test_accuracy"], ours["test_accuracy_interval_95"])
    machine = ours["machine"]
    console.print(
        f"\nours: {accuracy}, seed {ours['seed']}, on {machine.get('processor')} "
        f"({machine.get('threads')} threads, {machine.get('device')}); printed: on "
        f"{printed['machine']}",
        soft_wrap=True,
    )
    console.print(f"run: {printable(document['run'])}", soft_wrap=True)
