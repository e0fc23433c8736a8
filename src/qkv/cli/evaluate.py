"""`qkv evaluate`: how good a run is on its test split, or on other examples."""

from __future__ import annotations

from qkv.cli.console import print_json
from qkv.cli.options import (
    DataOption,
    JsonFlag,
    LabelColumnOption,
    RunArgument,
    SkipBadFlag,
    TextColumnOption,
)
from qkv.errors import QKVError


def evaluate(
    run: RunArgument,
    data: DataOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    skip_bad: SkipBadFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure accuracy and calibration on the run's test split, or on labelled data of yours."""
    from qkv.cli.asked import task_of
    from qkv.cli.reporter import make_reporter
    from qkv.evaluation.evaluate import evaluate as evaluate_run

    task = task_of(run)
    if (text_column or label_column) and (task != "text" or data is None):
        raise QKVError(
            "--text-column and --label-column say how a table of texts is read",
            remedy="leave them out, or name such a table with --data for a model of texts",
        )
    with make_reporter() as reporter:
        document = evaluate_run(
            run,
            data=data,
            skip_bad=skip_bad,
            text_column=text_column,
            label_column=label_column,
            reporter=reporter,
        )
    if as_json:
        print_json(document)
        return
    from qkv.cli.evaluation_tables import print_evaluation

    print_evaluation(document, "text" if task == "text" else "image")
