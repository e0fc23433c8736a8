"""`qkv train`: from a recipe to a finished run, or on with one that was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qkv.cli.options import DataOption, JsonFlag, SettingsOption, SkipBadFlag
from qkv.errors import QKVError, RecipeError

if TYPE_CHECKING:
    from qkv.runs import Run


def train(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TASK",
            help="fashion-mnist, or vision with --data FOLDER.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A recipe of the task, or a TOML file; the task's default otherwise.",
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="The run's folder, new or empty.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="The same as --set seed=N.", show_default=False),
    ] = None,
    settings: SettingsOption = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with a stopped run.", show_default=False),
    ] = None,
    skip_bad: SkipBadFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a model, test it, and draw its figures."""
    tasks = [word for word in words or () if "=" not in word]
    overrides = [*(settings or ()), *(word for word in words or () if "=" in word)]
    if seed is not None:
        overrides.append(f"seed={seed}")
    if resume is not None:
        _refuse_with_resume(
            {
                "TASK": bool(tasks),
                "--recipe": recipe is not None,
                "--out": out is not None,
                "--seed": seed is not None,
                "--set": len(overrides) > (seed is not None),
                "--skip-bad": skip_bad,
            }
        )
        run = _resume(resume, data)
    elif len(tasks) != 1:
        found = f"there are {len(tasks)}: {', '.join(tasks)}" if tasks else "it is missing"
        raise QKVError(
            f"qkv train takes one TASK, and {found}",
            remedy="try qkv train fashion-mnist, or qkv train vision --data FOLDER",
        )
    else:
        run = _train(tasks[0], recipe, overrides, data, out, skip_bad)

    from qkv.cli.run_summary import print_run

    print_run(run, as_json=as_json)


def _train(
    task: str,
    recipe: str | None,
    overrides: list[str],
    data: Path | None,
    out: Path | None,
    skip_bad: bool,
) -> Run:
    from qkv import experiment
    from qkv.cli.reporter import data_unit, make_reporter
    from qkv.training.recipe import load_recipe, recipe_families

    if task not in recipe_families() and Path(task).is_dir():
        raise RecipeError(
            f"unknown task {task!r}", remedy=f"for a folder: qkv train vision --data {task}"
        )
    chosen = load_recipe(task, recipe, overrides)
    with make_reporter(data_unit(chosen.model_dump())) as reporter:
        return experiment.train(chosen, out=out, data=data, skip_bad=skip_bad, reporter=reporter)


def _resume(path: Path, data: Path | None) -> Run:
    from qkv import experiment
    from qkv.cli.reporter import data_unit, make_reporter
    from qkv.runs import Run

    recipe = Run.open(path).record().get("recipe", {})
    with make_reporter(data_unit(recipe)) as reporter:
        return experiment.resume(path, data=data, reporter=reporter)


def _refuse_with_resume(given: dict[str, bool]) -> None:
    extra = [name for name, there in given.items() if there]
    if extra:
        raise QKVError(
            f"--resume goes on with a run as it was started and takes no {', '.join(extra)}",
            remedy="leave out all but --data, or start a new run without --resume",
        )
