"""Run the notebooks beside this file and save them with their outputs: `make examples`.

Each runs in a fresh kernel and an empty folder, on one thread, with warnings as errors. What would
differ from run to run without meaning, such as times and versions of the kernel, is not saved.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

HERE = Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# All but those of the kernel about itself.
WARNINGS_ARE_ERRORS = (
    "import warnings; warnings.simplefilter('error'); "
    "warnings.filterwarnings('ignore', module='ipykernel')"
)
CELL_SECONDS = 240


def execute(source: Path, target: Path) -> None:
    """Run the notebook `source` from its first cell to its last and write it to `target`.

    Raises:
        CellExecutionError: a cell raised an error; nothing is written.
    """
    notebook = nbformat.read(source, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "work")
        work.mkdir()
        # Neither the user's settings of IPython nor their cache of images takes part.
        own = {"IPYTHONDIR": folder, "QKV_CACHE": f"{folder}/cache", "OMP_NUM_THREADS": "1"}
        # Sockets that are files: kernels side by side cannot take each other's port.
        files = {"transport": "ipc", "connection_file": f"{folder}/kernel.json"}
        NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            record_timing=False,
            resources={"metadata": {"path": str(work)}},
            extra_arguments=[f"--IPKernelApp.exec_lines={WARNINGS_ARE_ERRORS}"],
            config=Config(KernelManager=files),
        ).execute(env={**os.environ, **own})
    notebook.metadata = nbformat.from_dict(METADATA)
    nbformat.write(notebook, target)


def main() -> None:
    """Run the notebooks named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description="Run notebooks and save their outputs.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="all beside this file if none")
    parser.add_argument("--out", type=Path, help="folder to save to, in place if none")
    options = parser.parse_args()
    for source in options.notebooks or sorted(HERE.glob("*.ipynb")):
        execute(source, source if options.out is None else options.out / source.name)


if __name__ == "__main__":
    main()
