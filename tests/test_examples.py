"""The notebooks of examples/ run, and what is committed is what a run of them gives."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = ("attention-from-scratch", "linear-attention", "train-and-read-a-vit")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
MOST_BYTES = 250_000
PNG = b"\x89PNG\r\n\x1a\n"
# A folder of some machine, or an address in memory.
PRIVATE = re.compile(r"(?<![\w.])/(?:[\w.-]+/)+|[A-Z]:\\|0x[0-9a-f]{6,}")


def read(path: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shape(output: Any) -> tuple[str, ...]:
    """What an output is, and its words; measured numbers differ from run to run."""
    if output.output_type == "stream":
        return ("stream", output.name, *re.findall(r"[^\W\d_]+", output.text))
    return (output.output_type, *sorted(output.data))


def test_all_notebooks_are_known() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.ipynb")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_and_gives_what_is_committed(name: str, tmp_path: Path) -> None:
    source = EXAMPLES / f"{name}.ipynb"
    before = source.read_bytes()
    command = [sys.executable, EXAMPLES / "execute.py", source, "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert source.read_bytes() == before

    kept, ran = read(source), read(tmp_path / source.name)
    assert [cell.source for cell in ran.cells] == [cell.source for cell in kept.cells]
    for old, new in zip(code_cells(kept), code_cells(ran), strict=True):
        assert [*map(shape, new.outputs)] == [*map(shape, old.outputs)], old.source


def test_a_failing_cell_fails_the_run_and_saves_nothing(tmp_path: Path) -> None:
    cells = [nbformat.v4.new_code_cell("import warnings\nwarnings.warn('wrong')")]
    source = tmp_path / "broken.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), source)
    before = source.read_bytes()
    command = [sys.executable, EXAMPLES / "execute.py", source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "UserWarning" in done.stderr
    assert source.read_bytes() == before


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_file_is_executed_clean_and_small(name: str) -> None:
    path = EXAMPLES / f"{name}.ipynb"
    notebook = read(path)
    assert path.stat().st_size < MOST_BYTES
    assert notebook.metadata == METADATA
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.metadata == {} for cell in notebook.cells)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)

    outputs = [output for cell in cells for output in cell.outputs]
    assert all(output.output_type != "error" for output in outputs)
    assert all(output.get("name") != "stderr" for output in outputs)
    pictures = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 3
    assert all(base64.b64decode(picture).startswith(PNG) for picture in pictures)
    for output in outputs:
        text = output.get("text", "") + output.get("data", {}).get("text/plain", "")
        assert not PRIVATE.search(text), text


@pytest.mark.parametrize("name", NAMES)
def test_every_claim_is_asserted(name: str) -> None:
    cells = code_cells(read(EXAMPLES / f"{name}.ipynb"))
    checking = [cell for cell in cells if re.search(r"\bassert", cell.source)]
    # The first cell imports; of the others, most check what the text beside them says.
    assert len(checking) >= 0.6 * (len(cells) - 1)
