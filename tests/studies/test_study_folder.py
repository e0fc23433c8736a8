from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qkv.errors import RunError
from qkv.studies.recurrence import study_recurrence
from qkv.studies.registry import STUDIES, require_writable, write_study


def test_studies_stand_under_their_own_names() -> None:
    assert {"recurrence", "copying"} <= STUDIES.keys()
    assert all(STUDIES.values())


def test_listing_loads_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, qkv.studies.registry, qkv.cli.study;"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_second_study_replaces_its_own_files_only(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    first = write_study(study_recurrence([1, 2]), tmp_path)
    before = [path.read_bytes() for path in first]
    second = write_study(study_recurrence([5, 2]), tmp_path)
    assert first == second
    assert [path.name for path in first] == ["study.json", "recurrence.png", "recurrence.svg"]
    assert all(path.read_bytes() != old for path, old in zip(second, before, strict=True))
    assert json.loads(first[0].read_text(encoding="utf-8"))["settings"] == {"sequence": [5, 2]}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["mine.txt", *(path.name for path in first)]
    )
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_the_same_study_gives_the_same_bytes(tmp_path: Path) -> None:
    written = [write_study(study_recurrence([1, 2, 3, 4]), tmp_path / name) for name in "ab"]
    for one, other in zip(*written, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_what_cannot_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    require_writable(tmp_path / "new" / "deeper")
    assert not (tmp_path / "new").exists()
    for folder in (file, file / "below"):
        with pytest.raises(RunError, match="is not a folder; choose another --out"):
            require_writable(folder)


def test_a_closed_folder_is_refused_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Asked of the system, since tests may run as a user who may write anywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(RunError, match="cannot write in"):
        require_writable(tmp_path / "new")


def test_a_figure_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qkv.figures import style

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(style, "replacing", full)
    with pytest.raises(RunError, match="No space left on device; free the disk"):
        write_study(study_recurrence([1, 2]), tmp_path)
