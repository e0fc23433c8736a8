"""The house: no crumbs, no twins by name, no circles, no giants; imports point down."""

from __future__ import annotations

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
LEAST_LINES, MOST_LINES = 120, 450
EACH_COMMAND_HAS_A_FILE = "qkv.cli.main"
SMALL_BUT_APART = {"qkv.serving.app": "the application alone, for any ASGI server and for tests"}
SAME_NAME = {"model.py": "the encoder's model, and the text model on its states"}
LONG_BUT_ONE_SUBJECT = {}
"""Files of more than `MOST_LINES` lines, and why each is one subject."""


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


FILES = {dotted(path): path for path in sorted((SOURCE / "qkv").rglob("*.py"))}
LINES = {name: len(path.read_text("utf-8").splitlines()) for name, path in FILES.items()}


def imported(name: str) -> set[str]:
    """Modules of qkv that a module imports, in functions too but not for types alone."""
    path = FILES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text("utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            origin = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            inner = {f"{origin}.{alias.name}" for alias in node.names}
            # `from qkv import figures` imports a module, `from qkv.errors import X` a name of one.
            found |= (inner & FILES.keys()) or {origin}
    return (found & FILES.keys()) - {name}


IMPORTS = {name: imported(name) for name in FILES}


def test_a_small_file_has_readers_elsewhere() -> None:
    """One with a single reader, in its own folder, belongs into that reader."""
    readers = defaultdict(list)
    for reader, read in IMPORTS.items():
        for name in read:
            readers[name].append(reader)
    crumbs = {
        name: readers[name][0]
        for name, path in FILES.items()
        if LINES[name] < LEAST_LINES
        and path.name != "__init__.py"
        and len(readers[name]) == 1
        and name not in SMALL_BUT_APART
        and readers[name] != [EACH_COMMAND_HAS_A_FILE]
        and not name.startswith(f"{readers[name][0]}.")  # a package's own file hands it on
        and FILES[readers[name][0]].parent == path.parent
    }
    assert not crumbs, "\n".join(f"{name} is read by {one} alone" for name, one in crumbs.items())


def test_a_name_stands_once_in_a_room() -> None:
    rooms = defaultdict(list)
    for path in FILES.values():
        parts = path.relative_to(SOURCE / "qkv").parts
        if len(parts) > 1 and path.name not in {"__init__.py", *SAME_NAME}:
            rooms[parts[0], path.name].append("/".join(parts))
    twins = [paths for paths in rooms.values() if len(paths) > 1]
    assert not twins, twins


def test_imports_run_in_no_circle() -> None:
    # A package's own file only hands on what its modules hold.
    graph = {
        name: {other for other in read if not name.startswith(f"{other}.")}
        for name, read in IMPORTS.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None


def test_a_long_file_is_one_subject() -> None:
    long = {name for name, lines in LINES.items() if lines > MOST_LINES}
    excused = LONG_BUT_ONE_SUBJECT.keys()
    assert not long - excused, {name: LINES[name] for name in long - excused}
    assert not excused - long, "short enough now: strike them off the list"
    assert all(LONG_BUT_ONE_SUBJECT.values())


def test_data_knows_no_task_and_tasks_do_not_know_each_other() -> None:
    forbidden = {"data": ("vision", "text"), "vision": ("text",), "text": ("vision",)}
    wrong = [
        f"{name} imports {other}"
        for name, read in IMPORTS.items()
        for other in read
        if other.split(".")[1:2]
        and name.split(".")[1:2]
        and other.split(".")[1] in forbidden.get(name.split(".")[1], ())
    ]
    assert not wrong, wrong


PACKAGE = Path(__file__).parents[1] / "src" / "qkv"

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
MODULES = sorted(PACKAGE.rglob("*.py"))


def parts_of_name(path: Path) -> list[str]:
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
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


@pytest.mark.parametrize("path", MODULES, ids=lambda path: ".".join(parts_of_name(path)) or "qkv")
def test_imports_point_down(path: Path) -> None:
    module = parts_of_name(path)
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
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    origins = {node.module for node in at_import if isinstance(node, ast.ImportFrom)}
    assert origins == {"__future__", "typing", "qkv.errors"}
    assert not any(isinstance(node, ast.Import) for node in at_import)


def test_every_module_has_one_purpose() -> None:
    assert not [path for path in MODULES if path.stem in {"utils", "helpers", "misc", "common"}]


def test_every_folder_is_a_package() -> None:
    folders = {path.parent for path in MODULES}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
