"""`qkv reproduce`: run what the source ran, and set its printed figures beside ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qkv.cli.console import print_json
from qkv.cli.options import DataOption, JsonFlag, SettingsOption
from qkv.errors import QKVError, RunError
from qkv.printed import S4, S5, PrintedRun

if TYPE_CHECKING:
    from qkv.runs import Run
    from qkv.training.recipe import Recipe


@dataclass(frozen=True)
class Study:
    """A printed run, and the family of recipes whose `reference` repeats it."""

    family: str
    printed: PrintedRun


STUDIES = {"s4": Study("fashion-mnist", S4), "s5": Study("imdb", S5)}
# All else makes two recipes different experiments.
NOT_DECIDING = {"description", "promise", "seed"}


def reproduce(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="STUDY", help="s4 or s5.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="The run's folder, runs/STUDY if not given; gone on with if it was stopped.",
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="s5: the encoder, such as bert-base-uncased (the printed one); the same as "
            "--set encoder.name=NAME.",
            show_default=False,
        ),
    ] = None,
    settings: SettingsOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Train as the source did and set its figures beside ours.

    s4 is a Vision Transformer on Fashion-MNIST, s5 a GRU on a frozen encoder on IMDB.
    """
    names = [word for word in words or () if "=" not in word]
    overrides = [*(settings or ()), *(word for word in words or () if "=" in word)]
    name, study = _study(names)
    if encoder is not None:
        if study.printed.encoder is None:
            raise QKVError(f"{name} has no encoder", remedy="leave out --encoder")
        overrides.append(f"encoder.name={encoder}")
    run = _reference_run(study, overrides, out or Path("runs") / name, data)

    from qkv.cli.comparison import comparison, print_comparison

    document = comparison(name, study.printed, run, overrides)
    if as_json:
        print_json(document)
    else:
        print_comparison(document)


def _study(names: list[str]) -> tuple[str, Study]:
    if len(names) != 1:
        found = f"there are {len(names)}: {', '.join(names)}" if names else "it is missing"
        raise QKVError(
            f"qkv reproduce takes one STUDY, and {found}",
            remedy=f"name one of {', '.join(STUDIES)}",
        )
    if names[0] not in STUDIES:
        from qkv.settings import nearest

        raise QKVError(
            f"there is no study {names[0]!r}", remedy=nearest(names[0], STUDIES, what="studies")
        )
    return names[0], STUDIES[names[0]]


def _reference_run(study: Study, overrides: list[str], out: Path, data: Path | None) -> Run:
    """The finished run of the reference recipe in `out`: there already, gone on with, or new."""
    from qkv import experiment
    from qkv.cli.reporter import make_reporter
    from qkv.training.recipe import load_recipe

    recipe = load_recipe(study.family, "reference", overrides)
    with make_reporter() as reporter:
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return experiment.train(recipe, out=out, data=data, reporter=reporter)
        _require_same(out, recipe)
        return experiment.resume(out, data=data, reporter=reporter)


def _require_same(out: Path, recipe: Recipe) -> None:
    from qkv.runs import Run

    found, asked = Run.open(out).record().get("recipe", {}), recipe.model_dump(mode="json")
    other = sorted(
        key for key in {*found, *asked} - NOT_DECIDING if found.get(key) != asked.get(key)
    )
    if other:
        raise RunError(
            f"{out} holds a run of another recipe (in {', '.join(other)})",
            remedy="choose another --out",
        )
