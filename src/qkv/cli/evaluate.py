"""`qkv evaluate`: how good a run is on its test images, or on others."""

from __future__ import annotations

from qkv.cli.console import print_json
from qkv.cli.options import DataOption, JsonFlag, RunArgument, SkipBadFlag


def evaluate(
    run: RunArgument,
    data: DataOption = None,
    skip_bad: SkipBadFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure accuracy and calibration on the run's test images, or on the images of a folder."""
    from qkv.cli.reporter import data_unit, make_reporter
    from qkv.evaluation.evaluate import evaluate as evaluate_run
    from qkv.runs import Run

    recipe = Run.open(run).record().get("recipe", {})
    with make_reporter(data_unit(recipe)) as reporter:
        document = evaluate_run(run, data=data, skip_bad=skip_bad, reporter=reporter)
    if as_json:
        print_json(document)
        return
    from qkv.cli.evaluation_tables import print_evaluation

    print_evaluation(document)
