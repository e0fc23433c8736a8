"""`qkv study`: a worked experiment, its table, its figure and its verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qkv.cli.console import (
    print_facts,
    print_json,
    print_machine,
    print_table,
    printable,
    results_console,
    say,
)
from qkv.cli.options import DataOption, JsonFlag, SettingsOption

if TYPE_CHECKING:
    from qkv.progress import Reporter
    from qkv.studies.study import Cell, StudyDocument

# Of a longer table the terminal gets the beginning and the end; study.json has it whole.
PRINTED_ROWS, LAST_ROWS = 48, 8

OutOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Where study.json and the figure go; studies/NAME by default."
    ),
]

study = typer.Typer(
    help="Worked experiments: a table, a figure, a verdict.",
    rich_markup_mode=None,
    invoke_without_command=True,
)


@study.callback()
def studies(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Worked experiments: a table, a figure, a verdict. All are listed without a name."""
    if context.invoked_subcommand is not None:
        return
    from qkv.studies.registry import STUDIES

    if as_json:
        print_json({"studies": STUDIES})
    else:
        print_facts(results_console(), STUDIES, 18)


@study.command()
def recurrence(
    sequence: Annotated[
        str,
        typer.Option(
            metavar="INTEGERS",
            help="An even number of integers, with commas between; --sequence=-3,2 if the first "
            "is negative.",
        ),
    ] = "3,1,4,1,5,9",
    out: OutOption = None,
    as_json: JsonFlag = False,
) -> None:
    """What h_t = x_t − h_(t−1) says of a sequence: step by step, in closed form, in words."""
    from qkv.studies.recurrence import parse_sequence, study_recurrence

    _deliver("recurrence", lambda *_: study_recurrence(parse_sequence(sequence)), out, as_json)


@study.command()
def copying(
    beta: Annotated[
        str, typer.Option(metavar="NORMS", help="Norms of the four vectors, with commas between.")
    ] = "1,2,4,8",
    out: OutOption = None,
    as_json: JsonFlag = False,
) -> None:
    """How near attention without weights comes to copying its tokens, against e^(−β²)."""
    from qkv.studies.copying import parse_betas, study_copying

    _deliver("copying", lambda *_: study_copying(parse_betas(beta)), out, as_json)


@study.command()
def quality(
    patch_sizes: Annotated[
        str, typer.Option(metavar="PIXELS", help="Sides of the patches, with commas between.")
    ] = "4,2",
    epochs: Annotated[int, typer.Option(metavar="N", help="Epochs of every training.")] = 2,
    seeds: Annotated[
        int, typer.Option(metavar="N", help="Seeds of every arm: 42, 43, and so on.")
    ] = 1,
    train_images: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Train on N images, the same share of every class; the others are the validation "
            "split.",
        ),
    ] = None,
    settings: SettingsOption = None,
    data: DataOption = None,
    out: OutOption = None,
    as_json: JsonFlag = False,
) -> None:
    """The same ViT with softmax and with linear attention. The same command goes on if stopped."""
    from qkv.studies.accuracy import parse_patch_sizes, study_accuracy

    _deliver(
        "quality",
        lambda folder, reporter: study_accuracy(
            folder,
            patch_sizes=parse_patch_sizes(patch_sizes),
            epochs=epochs,
            seeds=seeds,
            train_images=train_images,
            data=data,
            overrides=settings or (),
            reporter=reporter,
        ),
        out,
        as_json,
    )


@study.command("linear-attention")
def linear_attention(
    lengths: Annotated[
        str,
        typer.Option(
            metavar="TOKENS", help="A range that doubles, 64..16384, or a list, 64,100,1000."
        ),
    ] = "64..16384",
    head_dim: Annotated[int, typer.Option(metavar="N", help="Width of the one head.")] = 64,
    max_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="Skip what would take longer, all in all.")
    ] = 300.0,
    max_memory_mib: Annotated[
        int | None,
        typer.Option(
            metavar="MIB",
            help="Skip what would hold more; 4096 by default, or half of what is free.",
        ),
    ] = None,
    long: Annotated[
        int, typer.Option(metavar="TOKENS", help="A length for linear attention alone; 0 for none.")
    ] = 1_000_000,
    out: OutOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Time and memory of linear against softmax attention, and from which length on it pays."""
    from qkv.studies.linear_attention import study_linear_attention
    from qkv.studies.study import parse_lengths

    _deliver(
        "linear-attention",
        lambda _, reporter: study_linear_attention(
            parse_lengths(lengths),
            head_dim=head_dim,
            max_seconds=max_seconds,
            max_memory_mib=max_memory_mib,
            long=long,
            progress=reporter.progress("linear-attention", "steps"),
        ),
        out,
        as_json,
    )


def _deliver(
    name: str, measure: Callable[[Path, Reporter], StudyDocument], out: Path | None, as_json: bool
) -> None:
    from qkv.cli.progress import make_reporter
    from qkv.studies.registry import require_writable, write_study

    folder = Path("studies") / name if out is None else out
    require_writable(folder)
    with make_reporter() as reporter:
        document = measure(folder, reporter)
    written = write_study(document, folder)
    (print_json if as_json else _print_study)(document)
    for path in written:
        say(f"written: {printable(str(path))}")


def _print_study(document: StudyDocument) -> None:
    console = results_console()
    for table in (document["table"], *document.get("tables", [])):
        rows = [[_shown(cell) for cell in row] for row in table["rows"]]
        if len(rows) > PRINTED_ROWS:
            rows[PRINTED_ROWS - LAST_ROWS : -LAST_ROWS] = [["…" for _ in table["columns"]]]
        print_table(console, table["title"], table["columns"], rows)
    console.print(f"\n{printable(document['verdict'])}", style="bold")
    for note in document["notes"]:
        console.print(f"\n{printable(note)}")
    if "machine" in document:
        print_machine(console, document)


def _shown(cell: Cell) -> str:
    """A cell as people read it: four digits of a float, a very long integer by its ends."""
    from qkv.figures.style import short_integer

    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return short_integer(cell, 16)
    if isinstance(cell, float):
        return f"{cell:,.0f}" if 1000 <= abs(cell) < 1e7 else f"{cell:.4g}"
    return cell
