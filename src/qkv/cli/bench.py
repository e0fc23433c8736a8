"""`qkv bench`: measure qkv beside its baseline, by the benchmarks in qkv's source tree."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from qkv.cli.console import print_facts, print_json, print_machine, print_table, results_console
from qkv.cli.options import JsonFlag
from qkv.errors import QKVError


def bench(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A case; all are listed without one.")
    ] = None,
    as_json: JsonFlag = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the JSON document.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A short check; its figures prove nothing.")
    ] = False,
) -> None:
    """Measure a case: qkv and its baseline in one run, on this machine."""
    registry = _registry()
    if name is None:
        if as_json:
            print_json({"cases": registry.CASES})
        else:
            print_facts(results_console(), registry.CASES, 26)
        return
    from qkv.cli.progress import make_reporter

    with make_reporter() as reporter:
        document = registry.run(name, quick=quick, progress=reporter.progress(name, "steps"))
    if out is not None:
        from qkv.files import replace_file

        replace_file(out, (json.dumps(document, indent=2) + "\n").encode())
    (print_json if as_json else _print_case)(document)


def _registry() -> Any:
    """The package `benchmarks`, from the source tree that this very file is part of."""
    source = Path(__file__).resolve().parents[2]
    root = source.parent
    if source.name != "src" or not (root / "benchmarks" / "__init__.py").is_file():
        raise QKVError(
            "the benchmarks are part of qkv's source tree, not of the installed package",
            remedy="git clone qkv and pip install -e '.[text,minilm,serve,bench]' there",
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return importlib.import_module("benchmarks")


def _print_case(document: dict[str, Any]) -> None:
    console = results_console()
    console.print(f"{document['case']}: a ratio above 1 means that qkv is faster", soft_wrap=True)
    ratios = ([name, f"{ratio:.2f}"] for name, ratio in document["ratios"].items())
    print_table(console, "Ratios", ("", "times as fast"), ratios)
    figures = ([name, _shown(value)] for name, value in _flat(document["figures"]))
    print_table(console, "Figures", ("", "value"), figures)
    print_machine(console, document)


def _flat(figures: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested figures as (dotted name, value); a curve, a list of points, is for the JSON alone."""
    rows: list[tuple[str, Any]] = []
    for name, value in figures.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        elif not (isinstance(value, list) and any(isinstance(item, dict) for item in value)):
            rows.append((prefix + name, value))
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
