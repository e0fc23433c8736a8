import subprocess
import sys

import pytest

from benchmarks.registry import CASES, Case, run
from benchmarks.serving import module_environment
from qkv.errors import RecipeError


def test_unknown_name_offers_the_nearest():
    with pytest.raises(RecipeError, match=r"unknown benchmark 'vit-stepp'.*'vit-step'"):
        run("vit-stepp")


def test_cases_stand_under_their_own_names():
    assert {name: case.name for name, case in CASES.items()} == {name: name for name in CASES}
    assert {"vit-step", "vit-time-to-accuracy"} <= CASES.keys()
    assert all(case.summary for case in CASES.values())


def test_document_names_case_and_machine(monkeypatch):
    asked = []

    def measure(*, quick, progress):
        asked.append((quick, progress))
        return {"ratios": {"a": 2.0}, "figures": {"b": 1}}

    monkeypatch.setitem(CASES, "made-up", Case("made-up", "nothing", measure))
    document = run("made-up", quick=True)
    assert list(document) == ["case", "ratios", "figures", "machine"]
    assert document["case"] == "made-up"
    assert document["machine"]["torch"]
    assert asked == [(True, None)]


def test_listing_does_not_load_torch():
    code = "import sys, benchmarks.registry; sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, check=False, env=module_environment()).returncode == 0
