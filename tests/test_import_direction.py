"""Imports point down only, and every module has its floor."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "qkv"

# From the top floor down. Parts on one floor stand side by side: none imports the other.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"serving"},
    {"studies"},
    {"explanation"},
    {"evaluation.evaluate"},  # of finished runs, whose data training knows how to load
    {"training"},
    {"figures"},
    {"loading"},
    {"vision", "text"},
    {"evaluation"},
    {"predictions"},
    {"runs"},
    {"recurrence"},
    {"attention"},
    {"measurement"},
    {"autograd"},
    {"devices"},
    {"data"},
    {"progress"},
    {"settings"},
    {"files"},
    {"errors"},
]
HEIGHT = {part: -level for level, parts in enumerate(FLOORS) for part in parts}
MODULES = sorted(SOURCE.rglob("*.py"))


def dotted(path: Path) -> list[str]:
    parts = list(path.relative_to(SOURCE).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def part_of(module: list[str]) -> str:
    """The room of a module, or the module itself where it has a floor of its own."""
    own = ".".join(module[:2])
    return own if own in HEIGHT else module[0]


def imported_parts(source: str, module: list[str], *, is_package: bool = False) -> set[str]:
    """The parts of qkv that a module imports anywhere, in functions and for types too."""
    parts: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = ["qkv", *(module if is_package else module[:-1])]
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            # `from qkv import figures` imports a module; `from qkv.errors import X` a name of one.
            names = [f"qkv.{a.name}" for a in node.names] if origin == "qkv" else [origin]
            names = [name for name in names if name != "qkv.__version__"]
        else:
            continue
        parts |= {part_of(name.split(".")[1:]) for name in names if name.startswith("qkv.")}
        assert "qkv" not in names, "import the part that is meant, not the package"
    return parts


def uphill(source: str, module: list[str], *, is_package: bool = False) -> set[str]:
    own = part_of(module)
    others = imported_parts(source, module, is_package=is_package) - {own}
    return {part for part in others if HEIGHT[part] >= HEIGHT[own]}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: ".".join(dotted(path)) or "qkv")
def test_imports_point_down(path: Path) -> None:
    module = dotted(path)
    if not module:
        return
    assert module[0] in HEIGHT, f"{module[0]} stands on no floor: give it one in FLOORS"
    source = path.read_text(encoding="utf-8")
    assert uphill(source, module, is_package=path.name == "__init__.py") == set()


@pytest.mark.parametrize(
    ("source", "module", "parts"),
    [
        ("from qkv.training.loop import Fit", ["vision", "vit"], {"training"}),
        ("import qkv.text.encoder", ["vision", "vit"], {"text"}),
        ("def f():\n    from qkv import cli", ["runs"], {"cli"}),
        ("from ..training import fit", ["vision", "vit"], {"training"}),
        ("from ... import runs", ["attention", "deep", "softmax"], {"runs"}),
        ("from .. import runs", ["attention", "softmax"], {"runs"}),
        ("if TYPE_CHECKING:\n    from qkv.runs import Run", ["settings"], {"runs"}),
        ("from . import patches\nfrom qkv.runs import Run", ["vision", "vit"], set()),
        ("from qkv.errors import QKVError", ["data", "imdb"], set()),
    ],
)
def test_the_check_finds_what_points_up(source: str, module: list[str], parts: set[str]) -> None:
    assert uphill(source, module) == parts


def test_the_package_itself_imports_nothing_heavy() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    origins = {node.module for node in at_import if isinstance(node, ast.ImportFrom)}
    assert origins == {"__future__", "typing", "qkv.errors"}
    assert not any(isinstance(node, ast.Import) for node in at_import)


def test_every_module_has_one_purpose() -> None:
    assert not [path for path in MODULES if path.stem in {"utils", "helpers", "misc", "common"}]


def test_every_folder_is_a_package() -> None:
    folders = {path.parent for path in MODULES}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
