"""A run's test split from where its data are on this machine; the network is never used."""

from __future__ import annotations

from pathlib import Path

from qkv.data import fashion_mnist
from qkv.data.dataset import ImageSplit, TextSplit
from qkv.data.imdb import CACHE_FOLDER
from qkv.errors import DataError
from qkv.files import cache_dir
from qkv.runs import RECORD, Run
from qkv.training.data import fingerprint, load_dataset, test_split
from qkv.training.recipe import parse_recipe


def load_local_test(run: Run) -> ImageSplit | TextSplit:
    """The very test split that the run was tested on.

    Raises:
        DataError: it is not on this machine, or is not what it was.
        QKVError: the data or the run cannot be read.
    """
    record = run.record()
    recipe = parse_recipe(record["recipe"], where=str(run.path / RECORD))
    known = record["data"]
    named = known["folder"]
    places = [Path(named)] if named else _usual_places(recipe.data.dataset)
    problems = []
    for place in places:
        try:
            dataset = load_dataset(recipe, place, skip_bad=bool(known["skipped"]))
        except DataError as error:
            problems.append(error.problem)
            continue
        if fingerprint(dataset) == known["sha256"]:
            return test_split(dataset)
        problems.append(f"{place} has changed since the run was trained on it")
    raise DataError(
        f"the test data of {run.path} are not here: {'; '.join(problems) or 'no folder is known'}",
        remedy="bring them back to where they were",
    )


def _usual_places(dataset: str) -> list[Path]:
    """Where data lie that a run was not told the folder of.

    A folder that is named is the only place that loading looks at: these keep it from fetching.
    """
    if dataset == "fashion-mnist":
        return [cache_dir() / fashion_mnist.FILES.name, fashion_mnist.SYSTEM_FOLDER]
    return [cache_dir() / CACHE_FOLDER] if dataset == "imdb" else []
