"""The base of every settings class: strict, frozen, and helpful about a misspelt key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from qkv.errors import RecipeError


class Settings(BaseModel):
    """Validated, immutable settings; unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Validate `values`; `where` names their origin in the error.

        Raises:
            RecipeError: a key is unknown (the nearest valid name is offered), or a value is wrong.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            # A misspelt key may also leave a field missing; the spelling is what to mend.
            first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
            key = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise RecipeError(
                    f"{where}: unknown key {key!r}", remedy=_suggest(cls, first["loc"])
                ) from None
            given = "" if isinstance(first["input"], Mapping) else f", not {first['input']!r}"
            reason = first["msg"].removeprefix("Value error, ")
            raise RecipeError(
                f"{where}: {key or 'settings'}: {reason}{given}",
                remedy=f"correct {key!r}" if key else "correct the settings",
            ) from None


def _suggest(cls: type[BaseModel], location: tuple[int | str, ...]) -> str:
    owner = cls
    for part in location[:-1]:
        field = owner.model_fields.get(str(part))
        annotation = field.annotation if field else None
        candidates = [annotation, *get_args(annotation)]  # a section, or a section or None
        sections = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not sections:
            break
        owner = sections[0]
    return nearest(str(location[-1]), owner.model_fields, what="names")


def nearest(name: str, known: Iterable[str], *, what: str) -> str:
    """A remedy for a wrong name: the closest known one, or the list of all."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"valid {what} are {', '.join(names)}"
