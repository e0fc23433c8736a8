"""The base of all settings: strict, frozen, and helpful about what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, ValidationError, model_validator

from qkv.errors import RecipeError
from qkv.settings import Settings, nearest


class Inner(Settings):
    """A section."""

    width_pixels: int = Field(ge=1)
    """How wide."""


class Outer(Settings):
    """Settings with a section, and one that may be absent."""

    inner: Inner
    """A section."""
    other: Inner | None = None
    """Perhaps a section."""
    rate: float = 1.0
    """A number."""
    ready: bool = False
    """A flag."""
    name: str = "x"
    """A word."""

    @model_validator(mode="after")
    def _not_both(self) -> Outer:
        if self.ready and self.rate == 0.0:
            raise ValueError("ready needs a rate")
        return self


GOOD: dict[str, Any] = {"inner": {"width_pixels": 3}}


def error_of(**changes: Any) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        Outer.parse({**GOOD, **changes}, where="a.toml")
    assert str(caught.value).count("\n") == 0
    return caught.value


def test_good_values() -> None:
    parsed = Outer.parse({**GOOD, "rate": 2}, where="a.toml")
    assert (parsed.inner.width_pixels, parsed.rate) == (3, 2.0)
    assert Outer.parse(parsed.model_dump(mode="json"), where="a.toml") == parsed


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Outer.parse(GOOD, where="a.toml").rate = 3.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "problem", "remedy"),
    [
        ({"rat": 1.0}, "a.toml: unknown key 'rat'", "did you mean 'rate'?"),
        (
            {"qqq": 1},
            "a.toml: unknown key 'qqq'",
            "valid names are inner, name, other, rate, ready",
        ),
        (
            {"inner": {"width": 3}},  # leaves width_pixels missing too
            "a.toml: unknown key 'inner.width'",
            "did you mean 'width_pixels'?",
        ),
        (
            {"other": {"width_pixel": 3}},
            "a.toml: unknown key 'other.width_pixel'",
            "did you mean 'width_pixels'?",
        ),
        (
            {"inner": {}},
            "a.toml: inner.width_pixels: Field required",
            "correct 'inner.width_pixels'",
        ),
        (
            {"inner": {"width_pixels": 0}},
            "a.toml: inner.width_pixels: Input should be greater than or equal to 1, not 0",
            "correct 'inner.width_pixels'",
        ),
        ({"rate": "fast"}, "a.toml: rate: Input should be a valid number, not 'fast'", "'rate'"),
        ({"rate": True}, "a.toml: rate: Input should be a valid number, not True", "'rate'"),
        (
            {"rate": float("nan")},
            "a.toml: rate: Input should be a finite number, not nan",
            "'rate'",
        ),
        (
            {"rate": float("inf")},
            "a.toml: rate: Input should be a finite number, not inf",
            "'rate'",
        ),
        ({"ready": "yes"}, "a.toml: ready: Input should be a valid boolean, not 'yes'", "'ready'"),
        ({"ready": 1}, "a.toml: ready: Input should be a valid boolean, not 1", "'ready'"),
        (
            {"inner": {"width_pixels": 2.0}},
            "a.toml: inner.width_pixels: Input should be a valid integer, not 2.0",
            "'inner.width_pixels'",
        ),
        ({"ready": True, "rate": 0.0}, "a.toml: settings: ready needs a rate", "the settings"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], problem: str, remedy: str) -> None:
    error = error_of(**changes)
    assert error.problem == problem
    assert remedy in error.remedy


def test_what_is_no_mapping_at_all() -> None:
    with pytest.raises(RecipeError, match="valid dictionary"):
        Outer.parse(3, where="a.toml")  # type: ignore[arg-type]


def test_nearest() -> None:
    assert nearest("depht", ["dim", "depth"], what="names") == "did you mean 'depth'?"
    assert nearest("x", ["b", "a"], what="names") == "valid names are a, b"
