"""`qkv train`: from a recipe to a finished run, or on with one that was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qkv.cli.options import (
    DataOption,
    JsonFlag,
    LabelColumnOption,
    SettingsOption,
    SkipBadFlag,
    TextColumnOption,
    named_columns,
    split_words,
    the_one,
)
from qkv.errors import QKVError

if TYPE_CHECKING:
    from qkv.training.training_settings import Recipe

TRY = (
    "try qkv train fashion-mnist, qkv train imdb, qkv train vision --data FOLDER, or qkv train "
    "text --data TABLE"
)


def train(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TASK", help="fashion-mnist, imdb, or with --data PATH vision or text."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A recipe of the task, or a TOML file; the task's default otherwise.",
        ),
    ] = None,
    data: DataOption = None,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="The run's folder, new or empty.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="The same as --set seed=N.")] = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    settings: SettingsOption = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a stopped run.")
    ] = None,
    skip_bad: SkipBadFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a model on images or texts, test it, and draw its figures."""
    tasks, overrides = split_words(words, settings)
    if resume is not None:
        given = {
            "TASK": bool(tasks),
            "--recipe": recipe is not None,
            "--out": out is not None,
            "--seed": seed is not None,
            "--set": bool(overrides),
            "--text-column": text_column is not None,
            "--label-column": label_column is not None,
            "--skip-bad": skip_bad,
        }
        if extra := [name for name, there in given.items() if there]:
            raise QKVError(
                "--resume goes on with a run as it was started and takes no " + ", ".join(extra),
                remedy="leave out all but --data, or start a new run without --resume",
            )
    else:
        the_one(tasks, "qkv train takes one TASK", TRY)
    from qkv.cli.data import refuse_other_kind
    from qkv.cli.progress import make_reporter
    from qkv.cli.run_output import print_run
    from qkv.training import train as experiment

    if resume is not None:
        with make_reporter() as reporter:
            run = experiment.resume(resume, data=data, reporter=reporter)
    else:
        if seed is not None:
            overrides.append(f"seed={seed}")
        columns = named_columns(text_column, label_column)
        chosen = _recipe(tasks[0], recipe, overrides, columns)
        if data is not None:
            refuse_other_kind(data, chosen)
        with make_reporter() as reporter:
            run = experiment.train(chosen, out=out, data=data, skip_bad=skip_bad, reporter=reporter)

    print_run(run, as_json=as_json)


def _recipe(task: str, name: str | None, overrides: list[str], columns: dict[str, str]) -> Recipe:
    from qkv.cli.data import refuse_path_as_task
    from qkv.training.recipe import load_recipe, recipe_families

    if task not in recipe_families():
        refuse_path_as_task(task)
    chosen = load_recipe(task, name, overrides)
    if not columns:
        return chosen
    if chosen.data.dataset != "table":
        raise QKVError(
            f"--text-column and --label-column are for tables, and {task} reads none",
            remedy="leave them out, or try qkv train text --data TABLE",
        )
    # Quoted, as a name may look like a number.
    quoted = (
        f"data.{key}={json.dumps(column, ensure_ascii=False)}" for key, column in columns.items()
    )
    return load_recipe(task, name, [*overrides, *quoted])
