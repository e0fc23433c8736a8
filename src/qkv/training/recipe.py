"""Recipes: found by name, changed by `key=value`, validated as those of their task."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from qkv.errors import RecipeError
from qkv.settings import nearest
from qkv.training.training_settings import Recipe, TrainableTask


def _vision() -> TrainableTask:
    from qkv.training.vision_task import VISION

    return VISION


def _text() -> TrainableTask:
    from qkv.training.text_task import TEXT

    return TEXT


# What one task needs is not imported for another.
TASKS: dict[str, Callable[[], TrainableTask]] = {"vision": _vision, "text": _text}


R = TypeVar("R", bound=Recipe)


DEFAULT_NAMES = ("fast", "default")


def recipe_families() -> dict[str, list[str]]:
    """Names of the recipes that come with qkv, by family."""
    root = resources.files("qkv") / "recipes"
    return {
        family.name: sorted(
            entry.name.removesuffix(".toml")
            for entry in family.iterdir()
            if entry.name.endswith(".toml")
        )
        for family in sorted(root.iterdir(), key=lambda entry: entry.name)
        if family.is_dir() and not family.name.startswith(("_", "."))
    }


def load_recipe(family: str, name: str | None = None, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe `name` of a family, or of a TOML file, with `key=value` overrides applied.

    Args:
        family: a recipe family, such as `fashion-mnist` or `vision`.
        name: a recipe of the family, or a path that ends in `.toml`; the family's default if None.
        overrides: settings such as `training.epochs=3`; the value is read as TOML, or as a string.

    Raises:
        RecipeError: the family, recipe, a key or a value is wrong; the nearest name is offered.
    """
    values, where = _read(family, name)
    for override in overrides:
        _apply(values, override)
    return parse_recipe(values, where=where)


def load_recipe_of(
    kind: type[R], family: str, name: str | None = None, overrides: Iterable[str] = ()
) -> R:
    """The same as `load_recipe`, for callers that can use one kind alone.

    Raises:
        RecipeError: as there, or the recipe is of another kind.
    """
    recipe = load_recipe(family, name, overrides)
    if not isinstance(recipe, kind):
        raise RecipeError(
            f"{family}/{name or 'default'} is a {recipe.task} recipe",
            remedy=f"name one of another task than {recipe.task}",
        )
    return recipe


def parse_recipe(values: Mapping[str, Any], *, where: str) -> Recipe:
    """Validate a recipe given as nested mappings.

    Raises:
        RecipeError: a key or a value is wrong.
    """
    task = values.get("task")
    if not isinstance(task, str) or task not in TASKS:
        raise RecipeError(
            f"{where}: task is {task!r}", remedy=f"set task to one of {', '.join(TASKS)}"
        )
    return TASKS[task]().recipe.parse(values, where=where)


def _read(family: str, name: str | None) -> tuple[dict[str, Any], str]:
    families = recipe_families()
    if family not in families:
        raise RecipeError(
            f"unknown task {family!r}", remedy=nearest(family, families, what="tasks")
        )
    if name is not None and name.endswith(".toml"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(
                f"cannot read recipe {name}: {error}", remedy="name a readable TOML file"
            ) from None
        return _parse_toml(text, name), name
    known = families[family]
    chosen = name or next(default for default in DEFAULT_NAMES if default in known)
    if chosen not in known:
        raise RecipeError(
            f"task {family!r} has no recipe {chosen!r}",
            remedy=nearest(chosen, known, what="recipes"),
        )
    where = f"{family}/{chosen}"
    file = resources.files("qkv") / "recipes" / family / f"{chosen}.toml"
    return _parse_toml(file.read_text(encoding="utf-8"), where), where


def _parse_toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: {error}", remedy="correct the TOML") from None


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise RecipeError(
            f"--set {override!r} is not key=value", remedy="write it as training.epochs=3"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *sections, last = key.strip().split(".")
    target = values
    for section in sections:
        inner = target.setdefault(section, {})
        if not isinstance(inner, dict):
            raise RecipeError(
                f"--set {override!r}: {section!r} is not a section",
                remedy="name a setting such as training.epochs",
            )
        target = inner
    if text.strip().lower() == "none":
        target.pop(last, None)
        return
    target[last] = value
