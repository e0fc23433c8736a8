import subprocess
import sys

import pytest

from benchmarks import scan
from benchmarks.registry import run
from benchmarks.serving import module_environment
from qkv.errors import RecipeError


def test_unknown_name_offers_the_nearest():
    with pytest.raises(RecipeError, match=r"unknown benchmark 'vit-stepp'.*'vit-step'"):
        run("vit-stepp")


def test_document_names_case_and_machine(monkeypatch):
    asked = []

    def measure(*, quick, progress):
        asked.append((quick, progress))
        return {"ratios": {"a": 2.0}, "figures": {"b": 1}}

    monkeypatch.setattr(scan, "measure", measure)
    document = run("scan", quick=True)
    assert list(document) == ["case", "ratios", "figures", "machine"]
    assert document["case"] == "scan"
    assert document["machine"]["torch"]
    assert asked == [(True, None)]


def test_listing_does_not_load_torch():
    code = "import sys, benchmarks.registry; sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, check=False, env=module_environment()).returncode == 0
