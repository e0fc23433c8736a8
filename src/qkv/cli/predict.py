"""`qkv predict`: the classes of files and folders of images."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qkv.cli.console import printable, say
from qkv.cli.options import JsonFlag, RunArgument
from qkv.cli.wording import counted

if TYPE_CHECKING:
    from qkv.answers import FailedInput, Prediction
    from qkv.cli.answer_writers import Write

SOME_FAILED = 1


def predict(
    run: RunArgument,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...", help="Images, or folders of images.", show_default=False
        ),
    ],
    as_json: JsonFlag = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write every probability to a .csv, .jsonl or .parquet file.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(metavar="N", min=1, help="Images computed together.")
    ] = 256,
    top_k: Annotated[
        int, typer.Option("--top-k", metavar="K", min=1, help="Classes shown in the table.")
    ] = 1,
) -> None:
    """Say which class each image shows; inputs that cannot be read do not stop the others."""
    from qkv.classifiers import load
    from qkv.cli.answer_files import answer_file, check_answer_file
    from qkv.cli.answer_writers import json_document, table
    from qkv.cli.inputs import expand_inputs

    if out is not None:
        check_answer_file(out)
    files = expand_inputs(inputs)
    classifier = load(run, device="auto")
    names = classifier.class_names
    with ExitStack() as stack:
        writers: list[Write] = []
        if out is not None:
            writers.append(stack.enter_context(answer_file(out, names)))
        if as_json:
            writers.append(stack.enter_context(json_document(sys.stdout)))
        elif out is None:
            widest = max(len(str(path)) for path in files)
            writers.append(table(sys.stdout, names, widest, top_k))
        answers = classifier.predict_each(files, batch_size=batch_size)
        # Rows that scroll by on a terminal show the progress themselves.
        scrolling = out is None and sys.stdout.isatty()
        failed = _write(answers if scrolling else _counted(answers, len(files)), writers)
    if out is not None and not as_json:
        sys.stdout.write(f"{counted(len(files) - failed, 'prediction')} in {printable(str(out))}\n")
    if failed:
        say(f"qkv: {failed:,} of {counted(len(files), 'input')} could not be read")
        raise typer.Exit(SOME_FAILED)


def _write(answers: Iterable[Prediction | FailedInput], writers: list[Write]) -> int:
    """Give every answer to every one of `writers`; return how many inputs failed."""
    from qkv.answers import FailedInput

    failed = 0
    for answer in answers:
        failed += isinstance(answer, FailedInput)
        for write in writers:
            write(answer)
    return failed


def _counted(
    answers: Iterable[Prediction | FailedInput], total: int
) -> Iterator[Prediction | FailedInput]:
    from qkv.cli.counting import counting

    with counting("predict") as show:
        for done, answer in enumerate(answers, start=1):
            yield answer
            show(done, total)
