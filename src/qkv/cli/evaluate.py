"""`qkv evaluate`: how good a run is on its test split, or on other examples."""

from __future__ import annotations

from typing import Annotated

import typer

from qkv.cli.console import print_json
from qkv.cli.options import (
    DataOption,
    JsonFlag,
    LabelColumnOption,
    RunArgument,
    SkipBadFlag,
    TextColumnOption,
    named_columns,
)
from qkv.cli.predict import task_of
from qkv.errors import QKVError


def evaluate(
    run: RunArgument,
    data: DataOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    skip_bad: SkipBadFlag = False,
    explanations: Annotated[
        bool,
        typer.Option(
            "--explanations", help="Measure how faithful explanations are, method by method."
        ),
    ] = False,
    sample: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="With --explanations: how many examples, drawn at random.  [default: 100]",
        ),
    ] = None,
    methods: Annotated[
        str | None, typer.Option(metavar="A,B", help="With --explanations: only these methods.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure accuracy and calibration on the run's test split, or on labelled data of yours.

    With --explanations, measure instead how far explanations of its answers can be believed.
    """
    from qkv.cli.progress import make_reporter

    for option, value in (("--sample", sample), ("--methods", methods)):
        if value is not None and not explanations:
            raise QKVError(
                f"{option} is for explanations", remedy="add --explanations, or leave it out"
            )
    task = task_of(run)
    columns = named_columns(text_column, label_column)
    if columns and (task != "text" or data is None):
        raise QKVError(
            "--text-column and --label-column say how a table of texts is read",
            remedy="leave them out, or name such a table with --data for a model of texts",
        )
    if explanations:
        from qkv.cli.explanation_output import print_explanation_scores
        from qkv.explanation.evaluate import SAMPLE, evaluate_explanations

        names = None if methods is None else [one.strip() for one in methods.split(",")]
        with make_reporter() as reporter:
            scores = evaluate_explanations(
                run,
                data=data,
                methods=names and list(filter(None, names)),
                sample=sample or SAMPLE,
                skip_bad=skip_bad,
                columns=columns,
                reporter=reporter,
            )
        (print_json if as_json else print_explanation_scores)(scores)
        return
    from qkv.evaluation.evaluate import evaluate as evaluate_run

    with make_reporter() as reporter:
        document = evaluate_run(run, data=data, skip_bad=skip_bad, reporter=reporter, **columns)
    if as_json:
        print_json(document)
        return
    from qkv.cli.run_output import print_evaluation

    print_evaluation(document, "text" if task == "text" else "image")
