"""What the user wants classified, and how it is put to a classifier."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qkv.answers import FailedInput, Prediction
from qkv.cli.console import say
from qkv.cli.text_inputs import answer_lines, refuse_file, standard_input
from qkv.errors import DataError, QKVError

if TYPE_CHECKING:
    from qkv.classifiers import Classifier

Answers = Iterator[Prediction | FailedInput]
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Asked:
    """Inputs of one call.

    Attributes:
        answers: from a classifier and a batch size to an answer for each input, in order.
        count: how many there are; None if only their end will tell.
        widest: letters of the longest name.
        one_line: whether names are texts, to be shown on one line.
    """

    answers: Callable[[Any, int], Answers]
    count: int | None
    widest: int
    one_line: bool = False


def task_of(run: Path) -> str:
    """The task of a run.

    Raises:
        RunError: there is no run.
    """
    from qkv.runs import Run

    return str(Run.open(run).config().get("task"))


def ready_classifier(run: Path) -> Classifier:
    """The classifier of a run, ready to answer: what it lacks is found before an answer is begun.

    Raises:
        QKVError: the run is damaged, or its encoder is not to be had.
    """
    from qkv.classifiers import load
    from qkv.text.classifier import TextClassifier

    classifier = load(run, device="auto")
    if isinstance(classifier, TextClassifier):
        _ = classifier.reading.encoder
    return classifier


def ask_images(inputs: Sequence[str], file: Path | None, text_column: str | None) -> Asked:
    """Images, and those of folders.

    Raises:
        QKVError: no input exists, or options are given that are for texts.
    """
    from qkv.cli.inputs import expand_inputs

    for option, given in (("--file", file), ("--text-column", text_column)):
        if given is not None:
            raise QKVError(
                f"{option} is for models of texts, and this run is one of images",
                remedy="name images or folders of images",
            )
    files = expand_inputs([Path(path) for path in inputs])
    return Asked(
        lambda classifier, size: classifier.predict_each(files, batch_size=size),
        count=len(files),
        widest=max(len(str(path)) for path in files),
    )


def ask_texts(inputs: Sequence[str], file: Path | None, text_column: str | None) -> Asked:
    """Texts as they are, those of a table, or the lines of standard input.

    Raises:
        QKVError: the inputs contradict each other, or the table cannot be read.
    """
    if file is not None:
        if inputs:
            raise QKVError(
                "texts are given beside --file", remedy="give the one or the other, not both"
            )
        return _ask_table(file, text_column)
    if text_column is not None:
        raise QKVError(
            "--text-column says which column of a table holds the texts",
            remedy="name the table with --file",
        )
    if STANDARD_INPUT in inputs:
        if len(inputs) > 1:
            raise QKVError(
                "- reads standard input, and other texts are given beside it",
                remedy="give the one or the other, not both",
            )
        if sys.stdin.isatty():
            say("one text a line; end with Ctrl-D")
        return Asked(
            lambda classifier, size: answer_lines(classifier, standard_input(), size),
            count=None,
            widest=sys.maxsize,
            one_line=True,
        )
    for text in inputs:
        refuse_file(text)
    names = [
        text if text.strip() else f"text {number}" for number, text in enumerate(inputs, start=1)
    ]
    return _ask_named(names, list(inputs), one_line=True)


def _ask_table(file: Path, text_column: str | None) -> Asked:
    from qkv.data.text_table import read_texts

    names, texts = read_texts(file, text_column)
    if not texts:
        raise DataError(f"{file} has no rows", remedy="name a table with texts")
    return _ask_named(names, texts)


def _ask_named(names: Sequence[str], texts: Sequence[str], *, one_line: bool = False) -> Asked:
    return Asked(
        lambda classifier, size: classifier.predict_each(texts, names=names, batch_size=size),
        count=len(texts),
        widest=max(len(name) for name in names),
        one_line=one_line,
    )
