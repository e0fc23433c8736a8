"""Which method and which class an explanation is of, by name."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from qkv.errors import DataError, RecipeError
from qkv.settings import nearest


def chosen_method(name: str | None, known: Collection[str], default: str) -> str:
    """The method asked for, or the default.

    Raises:
        RecipeError: there is none of that name; the nearest is offered.
    """
    if name is None:
        return default
    if name not in known:
        raise RecipeError(
            f"no method of explanation is called {name!r}",
            remedy=nearest(name, known, what="methods"),
        )
    return name


def chosen_label(name: str | None, class_names: Sequence[str], predicted: int) -> int:
    """The number of the class asked for, or of the one predicted.

    Raises:
        DataError: there is none of that name; the nearest is offered.
    """
    if name is None:
        return predicted
    if name not in class_names:
        raise DataError(
            f"the model knows no class {name!r}", remedy=nearest(name, class_names, what="classes")
        )
    return list(class_names).index(name)
