"""`qkv predict`: the classes of images, or of texts."""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

import typer

from qkv.cli.console import counted, printable, say
from qkv.cli.options import JsonFlag, RunArgument, TextColumnOption
from qkv.errors import DataError, QKVError

if TYPE_CHECKING:
    from qkv.cli.prediction_output import Write
    from qkv.predictions import Classifier, FailedInput, Prediction
    from qkv.progress import Progress
    from qkv.text.classifier import TextClassifier

    Predictions = Iterator[Prediction | FailedInput]

SOME_FAILED = 1
STANDARD_INPUT = "-"
CHUNK_BYTES = 1 << 16
LONGEST_LINE_BYTES = 1 << 26
"""A longer line must be something else than a text; the rest of it is passed over."""


@dataclass(frozen=True)
class PredictInputs:
    """Inputs of one call, and how they are shown."""

    predict: Callable[[Any, int], Predictions]
    """From a classifier and a batch size to a prediction for each input, in order."""
    count: int | None
    """How many there are; None if only their end will tell."""
    widest: int
    """Letters of the longest name."""
    one_line: bool = False
    """Whether names are texts, to be shown on one line."""


def predict(
    context: typer.Context,
    run: RunArgument,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Images, or folders of images; for a model of texts, texts, or - for the lines "
            "of standard input.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE", help="Classify the texts of a .csv, .tsv, .jsonl or .parquet table."
        ),
    ] = None,
    text_column: TextColumnOption = None,
    as_json: JsonFlag = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write every probability to a .csv, .jsonl or .parquet file."
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
        context.fail("Missing argument 'INPUT...'")
    if out is not None:
        from qkv.cli.prediction_output import check_prediction_file

        check_prediction_file(out)
    read = text_inputs if task_of(run) == "text" else image_inputs
    found = read(inputs or [], file, text_column)
    from qkv.cli.prediction_output import json_document, prediction_file, table
    from qkv.cli.progress import make_reporter
    from qkv.predictions import FailedInput

    classifier = ready_classifier(run)
    names, failed, done = classifier.class_names, 0, 0
    with ExitStack() as stack:
        writers: list[Write] = []
        if out is not None:
            writers.append(stack.enter_context(prediction_file(out, names)))
        if as_json:
            writers.append(stack.enter_context(json_document(sys.stdout)))
        elif out is None:
            writers.append(table(sys.stdout, names, found.widest, top_k, one_line=found.one_line))
        show: Progress = lambda done, total: None  # noqa: ARG005, E731
        # Rows that scroll by on a terminal show the progress themselves.
        if found.count is not None and not (out is None and sys.stdout.isatty()):
            show = stack.enter_context(make_reporter()).progress("predict", "inputs")
        for done, prediction in enumerate(found.predict(classifier, batch_size), start=1):
            failed += isinstance(prediction, FailedInput)
            for write in writers:
                write(prediction)
            if found.count is None:  # what comes line by line is waited for line by line
                sys.stdout.flush()
            else:
                show(done, found.count)
    if out is not None and not as_json:
        sys.stdout.write(f"{counted(done - failed, 'prediction')} in {printable(str(out))}\n")
    if failed:
        say(f"qkv: {failed:,} of {counted(done, 'input')} could not be read")
        raise typer.Exit(SOME_FAILED)


def task_of(run: Path) -> str:
    """The task of a run; there being none is a `RunError`."""
    from qkv.runs import Run

    return str(Run.open(run).config().get("task"))


def ready_classifier(run: Path) -> Classifier[Any, Any]:
    """The classifier of a run, its encoder at hand.

    Raises:
        QKVError: the run is damaged, or its encoder is not to be had.
    """
    from qkv.loading import load

    classifier = load(run, device="auto")
    classifier.prepare()
    return classifier


# --- images ---------------------------------------------------------------------------------


def image_inputs(
    inputs: Sequence[str], file: Path | None, text_column: str | None
) -> PredictInputs:
    """Images, and those of folders; options for texts are refused."""
    for option, given in (("--file", file), ("--text-column", text_column)):
        if given is not None:
            raise QKVError(
                f"{option} is for models of texts, and this run is one of images",
                remedy="name images or folders of images",
            )
    paths = [Path(path) for path in inputs]
    if not any(path.exists() for path in paths):
        more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
        raise DataError(f"there is no {paths[0]}{more}", remedy="name images or folders of images")
    # A file that is named stays in the list even if it is not there: it gets an error of its own.
    found = ([path] if not path.is_dir() else _images_below(path) for path in paths)
    files = list(itertools.chain.from_iterable(found))
    return PredictInputs(
        lambda classifier, size: classifier.predict_each(files, batch_size=size),
        count=len(files),
        widest=max(len(str(path)) for path in files),
    )


def _images_below(root: Path) -> list[Path]:
    from qkv.cli.data import visible_files
    from qkv.data.image_decode import SUFFIXES

    try:
        found = [path for path in visible_files(root) if path.suffix.lower() in SUFFIXES]
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be listed ({error.strerror})",
            remedy="correct its permissions",
        ) from None
    if not found:
        raise DataError(
            f"{root} holds no image", remedy=f"images end in {', '.join(sorted(SUFFIXES))}"
        )
    return sorted(found)


# --- texts ----------------------------------------------------------------------------------


def text_inputs(inputs: Sequence[str], file: Path | None, text_column: str | None) -> PredictInputs:
    """Texts as they are, those of a table, or the lines of standard input."""
    one_or_other = "give the one or the other, not both"
    if file is not None and inputs:
        raise QKVError("texts are given beside --file", remedy=one_or_other)
    if file is None and text_column is not None:
        raise QKVError(
            "--text-column says which column of a table holds the texts",
            remedy="name the table with --file",
        )
    if STANDARD_INPUT in inputs:
        if len(inputs) > 1:
            raise QKVError(
                "- reads standard input, and other texts are given beside it", remedy=one_or_other
            )
        if sys.stdin.isatty():
            say("one text a line; end with Ctrl-D")
        return PredictInputs(
            lambda classifier, size: predict_lines(classifier, standard_input(), size),
            count=None,
            widest=sys.maxsize,
            one_line=True,
        )
    names: Sequence[str]
    texts: Sequence[str] = inputs
    if file is not None:
        from qkv.data.text_table import read_texts

        names, texts = read_texts(file, text_column)
        if not texts:
            raise DataError(f"{file} has no rows", remedy="name a table with texts")
    else:
        for text in inputs:
            refuse_file(text)
        names = [text if text.strip() else f"text {n}" for n, text in enumerate(inputs, start=1)]
    return PredictInputs(
        lambda classifier, size: classifier.predict_each(texts, names=names, batch_size=size),
        count=len(texts),
        widest=max(len(name) for name in names),
        one_line=file is None,
    )


def refuse_file(text: str) -> None:
    """Stop where a text is the name of a file of data that is there."""
    from qkv.cli.data import kind_of_data
    from qkv.data.table_readers import is_table

    path = Path(text)
    try:
        found = path.is_file() and kind_of_data(path) is not None
    except (OSError, ValueError):  # too long, or with a NUL: no name of a file
        return
    if found:
        remedy = "give the text itself, or one text a line on standard input with -"
        if is_table(path):
            remedy = f"classify its texts with --file {shlex.quote(text)}"
        raise DataError(f"{text} is a file, and its name was given as a text", remedy=remedy)


def predict_lines(classifier: TextClassifier, stream: BinaryIO, batch_size: int) -> Predictions:
    """A prediction for each line; an empty or undecodable one does not stop the others.

    Lines are predicted together as far as they have come, so none waits for a later one.
    """
    numbers = itertools.count(1)
    for batch in line_batches(stream, batch_size):
        read = [_decoded(line, next(numbers)) for line in batch]
        texts = [item for item in read if isinstance(item, str)]
        predictions = classifier.predict_each(texts, batch_size=batch_size)
        for item in read:
            yield next(predictions) if isinstance(item, str) else item


def line_batches(stream: BinaryIO, at_once: int) -> Iterator[list[bytes]]:
    r"""The lines of a stream without `\n` or `\r\n`, as many as have come, `at_once` at most."""
    read = getattr(stream, "read1", stream.read)
    begun = bytearray()
    while chunk := read(CHUNK_BYTES):
        *lines, last = chunk.split(b"\n")
        if lines:
            lines[0] = bytes(begun) + lines[0]
            begun = bytearray(last)
        elif len(begun) <= LONGEST_LINE_BYTES:
            begun += last
        for start in range(0, len(lines), at_once):
            yield [line.removesuffix(b"\r") for line in lines[start : start + at_once]]
    if begun:
        yield [bytes(begun).removesuffix(b"\r")]


def standard_input() -> BinaryIO:
    """Standard input as bytes: its encoding is UTF-8, whatever the locale says."""
    return cast(BinaryIO, sys.stdin.buffer)


def _decoded(line: bytes, number: int) -> str | FailedInput:
    """The text of a line, or why it has none."""
    from qkv.data.table_readers import not_utf8
    from qkv.predictions import FailedInput

    name = f"line {number:,}"
    if len(line) > LONGEST_LINE_BYTES:
        return FailedInput(name, f"{name} has more than {LONGEST_LINE_BYTES:,} bytes")
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        return FailedInput(name, f"{name} {not_utf8(error)}")
    return text if text.strip() else FailedInput(name, f"{name} is empty")
