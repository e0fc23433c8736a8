"""Names of methods and classes: the default, the one asked for, and the nearest to a wrong one."""

from __future__ import annotations

import pytest

from qkv.errors import DataError, RecipeError
from qkv.explanation.explanation import chosen_label, chosen_method

METHODS = {"occlusion": 1, "shapley": 2}
CLASSES = ("T-shirt/top", "Trouser", "Bag")


def test_methods() -> None:
    assert chosen_method(None, METHODS, "shapley") == "shapley"
    assert chosen_method("occlusion", METHODS, "shapley") == "occlusion"
    with pytest.raises(RecipeError, match="called 'oclusion'; did you mean 'occlusion'"):
        chosen_method("oclusion", METHODS, "shapley")
    with pytest.raises(RecipeError, match="valid methods are occlusion, shapley"):
        chosen_method("", METHODS, "shapley")


def test_classes() -> None:
    assert chosen_label(None, CLASSES, 2) == 2
    assert chosen_label("Trouser", CLASSES, 2) == 1
    with pytest.raises(DataError, match="no class 'trousers'; did you mean 'Trouser'"):
        chosen_label("trousers", CLASSES, 0)
