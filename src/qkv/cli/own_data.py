"""Whether a path of the user's own holds images or texts, and the command that suits it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qkv.errors import RecipeError

if TYPE_CHECKING:
    from qkv.training.recipe import Recipe

Kind = Literal["vision", "text"]
# The dataset setting of the recipes that read a user's own data.
OWN_DATA: dict[str, Kind] = {"folder": "vision", "table": "text"}
NOUNS: dict[Kind, str] = {"vision": "images", "text": "texts"}


def kind_of_data(path: Path) -> Kind | None:
    """Whether there are images or texts, by the ends of names alone; None if there are neither.

    A folder is what most of its files are: a folder of images may hold a list of them, and texts
    may lie beside a picture.
    """
    if path.is_file():
        return _kind_of_file(path.name)
    counts: dict[Kind, int] = {"vision": 0, "text": 0}
    for _, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            kind = None if name.startswith(".") else _kind_of_file(name)
            if kind is not None:
                counts[kind] += 1
    if not any(counts.values()):
        return None
    return "text" if counts["text"] > counts["vision"] else "vision"


def refuse_path_as_task(task: str) -> None:
    """Name the right command where a path stands in place of a task.

    Raises:
        RecipeError: there is such a file or folder.
    """
    path = Path(task)
    if not path.exists():
        return
    kind = kind_of_data(path) or ("vision" if path.is_dir() else "text")
    what = f"the {NOUNS[kind]} of a {'folder' if path.is_dir() else 'file'}"
    raise RecipeError(
        f"unknown task {task!r}",
        remedy=f"for {what}: qkv train {kind} --data {shlex.quote(task)}",
    )


def refuse_other_kind(data: Path, recipe: Recipe) -> None:
    """Name the right command where texts are given for images, or images for texts.

    A known data set is a folder: a file in its place is taken for the user's own data.

    Raises:
        RecipeError: the path holds something else than the recipe reads.
    """
    dataset = recipe.data.dataset
    wanted = OWN_DATA.get(dataset)
    if wanted is None and not data.is_file():
        return
    found = kind_of_data(data)
    if found is not None and found != wanted:
        not_that = dataset if wanted is None else NOUNS[wanted]
        raise RecipeError(
            f"{data} holds {NOUNS[found]}, not {not_that}",
            remedy=f"for {NOUNS[found]}: qkv train {found} --data {shlex.quote(str(data))}",
        )


def _kind_of_file(name: str) -> Kind | None:
    from qkv.data.image_decode import SUFFIXES
    from qkv.data.table_readers import is_table
    from qkv.data.text_table import SUFFIX

    suffix = Path(name).suffix.lower()
    if suffix in SUFFIXES:
        return "vision"
    return "text" if suffix == SUFFIX or is_table(Path(name)) else None
