"""Files on disk: replaced whole, locked between processes, with room asked for first."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from qkv.errors import DataError, RunError
from qkv.files import (
    cache_dir,
    format_bytes,
    locked,
    replace_file,
    replacing,
    require_space,
    unused_path,
)


def test_cache_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QKV_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    monkeypatch.setenv("QKV_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir().is_absolute()
    assert cache_dir().name == "qkv"


def test_a_taken_name_gets_a_number(tmp_path: Path) -> None:
    assert unused_path(tmp_path / "run") == tmp_path / "run"
    for taken in ("run", "run-2"):
        (tmp_path / taken).mkdir()
    assert unused_path(tmp_path / "run") == tmp_path / "run-3"


# --- replacement ----------------------------------------------------------------------------


def test_the_name_holds_the_old_content_until_the_new_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    replace_file(target, b"old")
    with replacing(target) as temporary:
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert [path.name for path in target.parent.iterdir()] == ["file"]
    if os.name == "posix":
        assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fail() -> None:
        with replacing(target) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "plain").touch()
    with pytest.raises(RunError, match="cannot write .*plain/file"):
        replace_file(tmp_path / "plain" / "file", b"x")
    monkeypatch.setattr("qkv.files.os.fsync", full)
    with pytest.raises(RunError, match="No space left on device; free the disk"):
        replace_file(tmp_path / "file", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


# --- locks ----------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from qkv.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_keeps_other_processes_out_until_its_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    busy = RunError("another process is training here", remedy="wait for it")
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        for seconds in (0, 0.05):
            with (
                pytest.raises(RunError, match="is training here"),
                locked(path, busy=busy, timeout_seconds=seconds),
            ):
                raise AssertionError
        holder.kill()
    with locked(path, busy=busy, timeout_seconds=5):
        pass


def test_waiting_is_told_once_and_only_if_there_is_something_to_wait_for(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    told: list[str] = []
    with locked(path, waiting=lambda: told.append("no")):
        threads = [
            threading.Thread(target=lambda: _take(path, lambda: told.append("waits")))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        while len(told) < 2:
            threads[0].join(0.01)
    for thread in threads:
        thread.join()
    assert told == ["waits", "waits"]


def _take(path: Path, waiting: Callable[[], None]) -> None:
    with locked(path, waiting=waiting):
        pass


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with pytest.raises(OSError, match="plain"), locked(tmp_path / "plain" / ".lock"):
        pass


# --- room -----------------------------------------------------------------------------------


def test_room_is_asked_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    require_space(folder, 1, what="the run needs", remedy="free the disk")
    with pytest.raises(DataError, match=r"the run needs 909 TiB, but .*yet has .* free; free the"):
        require_space(folder, 10**15, what="the run needs", remedy="free the disk")
    with pytest.raises(RunError, match="needs 1 bytes and 909 TiB to spare"):
        require_space(
            folder, 1, what="it needs", remedy="free it", spare_bytes=10**15, error=RunError
        )


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1024, "1 KiB"),
        (9.53 * 2**20, "9.53 MiB"),
        (812 * 2**20, "812 MiB"),
        (999.7 * 2**20, "0.976 GiB"),
        (1200 * 2**20, "1.17 GiB"),
        (10**15, "909 TiB"),
        (10**18, "909,495 TiB"),
    ],
)
def test_sizes_have_three_digits(count: float, words: str) -> None:
    assert format_bytes(count) == words
