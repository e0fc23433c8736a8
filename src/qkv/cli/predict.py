"""`qkv predict`: the classes of images, or of texts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qkv.cli.console import printable, say
from qkv.cli.options import JsonFlag, RunArgument, TextColumnOption
from qkv.cli.wording import counted

if TYPE_CHECKING:
    from qkv.answers import FailedInput, Prediction
    from qkv.classifiers import Classifier
    from qkv.cli.answer_writers import Write
    from qkv.cli.asked import Asked

SOME_FAILED = 1


class _NothingAskedError(typer.TyperException):
    """There is no input: only the command knows when one must be there."""

    def __init__(self, context: typer.Context) -> None:
        super().__init__("Missing argument 'INPUT...'")
        self.ctx = context


def predict(
    context: typer.Context,
    run: RunArgument,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Images, or folders of images; for a model of texts, texts, or - for the lines "
            "of standard input.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Classify the texts of a .csv, .tsv, .jsonl or .parquet table.",
            show_default=False,
        ),
    ] = None,
    text_column: TextColumnOption = None,
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
        int, typer.Option(metavar="N", min=1, help="Inputs computed together.")
    ] = 256,
    top_k: Annotated[
        int, typer.Option("--top-k", metavar="K", min=1, help="Classes shown in the table.")
    ] = 1,
) -> None:
    """Say which class each image shows, or each text is of.

    Inputs that cannot be read do not stop the others. Put -- before texts that begin with a dash.
    """
    if not inputs and file is None:
        raise _NothingAskedError(context)
    from qkv.cli.answer_files import check_answer_file
    from qkv.cli.asked import ask_images, ask_texts, ready_classifier, task_of

    if out is not None:
        check_answer_file(out)
    if task_of(run) == "text":
        asked = ask_texts(inputs or [], file, text_column)
    else:
        asked = ask_images(inputs or [], file, text_column)
    failed, done = _deliver(ready_classifier(run), asked, as_json, out, batch_size, top_k)
    if out is not None and not as_json:
        sys.stdout.write(f"{counted(done - failed, 'prediction')} in {printable(str(out))}\n")
    if failed:
        say(f"qkv: {failed:,} of {counted(done, 'input')} could not be read")
        raise typer.Exit(SOME_FAILED)


def _deliver(
    classifier: Classifier,
    asked: Asked,
    as_json: bool,
    out: Path | None,
    batch_size: int,
    top_k: int,
) -> tuple[int, int]:
    """Answer; return how many inputs failed, and how many there were."""
    from qkv.cli.answer_files import answer_file
    from qkv.cli.answer_writers import json_document, table

    names = classifier.class_names
    with ExitStack() as stack:
        writers: list[Write] = []
        if out is not None:
            writers.append(stack.enter_context(answer_file(out, names)))
        if as_json:
            writers.append(stack.enter_context(json_document(sys.stdout)))
        elif out is None:
            writers.append(table(sys.stdout, names, asked.widest, top_k, one_line=asked.one_line))
        answers = asked.answers(classifier, batch_size)
        # Rows that scroll by on a terminal show the progress themselves.
        if asked.count is not None and not (out is None and sys.stdout.isatty()):
            answers = _counted(answers, asked.count)
        return _write(answers, writers, flush=asked.count is None)


def _write(
    answers: Iterable[Prediction | FailedInput], writers: list[Write], *, flush: bool
) -> tuple[int, int]:
    """Give every answer to every one of `writers`; return how many inputs failed, and how many."""
    from qkv.answers import FailedInput

    failed = done = 0
    for answer in answers:
        done += 1
        failed += isinstance(answer, FailedInput)
        for write in writers:
            write(answer)
        if flush:  # what comes line by line is waited for line by line
            sys.stdout.flush()
    return failed, done


def _counted(
    answers: Iterable[Prediction | FailedInput], total: int
) -> Iterator[Prediction | FailedInput]:
    from qkv.cli.counting import counting

    with counting("predict") as show:
        for done, answer in enumerate(answers, start=1):
            yield answer
            show(done, total)
