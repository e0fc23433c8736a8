"""The run folder: whole or not at all, and damage is noticed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qkv import runs
from qkv.errors import RunError
from qkv.runs import LOG, POSITION, WEIGHTS, Run, replace_file

TENSORS = {
    "a": torch.arange(12, dtype=torch.float32).view(3, 4),
    "b.c": torch.tensor(7),
    "half": torch.ones(3, dtype=torch.bfloat16),
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", config={"task": "vision"}, record={"seed": 1})


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(other) and all(
        one[key].dtype == other[key].dtype and torch.equal(one[key], other[key]) for key in one
    )


# --- what is written comes back


def test_a_new_run(run: Run) -> None:
    assert run.config() == {"task": "vision"}
    assert run.record() == {"format": 1, "seed": 1}
    assert run.log() == []
    assert run.position() is None
    assert not run.has_weights()
    assert files(run.path) == {"config.json", "run.json"}
    assert Run.open(str(run.path)).config() == run.config()


def test_tensors_and_facts_come_back(run: Run) -> None:
    run.save_weights(TENSORS, epoch=3)
    run.save_position(TENSORS, {"step": 5, "best": None, "epochs": [{"loss": 0.1}]})
    run.save_results({"x": TENSORS["a"].T})  # a view whose bytes lie in another order
    assert run.has_weights()
    assert equal(run.weights(), TENSORS)
    saved = run.position()
    assert saved is not None
    assert equal(saved[0], TENSORS)
    assert saved[1] == {"step": 5, "best": None, "epochs": [{"loss": 0.1}]}
    assert torch.equal(run.results()["x"], TENSORS["a"].T)
    run.clear_position()
    assert run.position() is None
    run.clear_position()


def test_the_record_is_changed_by_entry(run: Run) -> None:
    run.update_record(status="running", seed=2)
    assert run.record() == {"format": 1, "seed": 2, "status": "running"}
    run.write_record({"unit": "µs"})
    assert run.record() == {"format": 1, "unit": "µs"}
    assert "µs" in (run.path / "run.json").read_text(encoding="utf-8")


def test_saved_weights_open_without_qkv(run: Run) -> None:
    from safetensors.torch import load_file

    run.save_weights(TENSORS, epoch=3)
    assert load_file(run.path / WEIGHTS)["b.c"] == 7


def test_nothing_is_pickled(run: Run) -> None:
    source = Path(runs.__file__).read_text(encoding="utf-8")
    assert "import pickle" not in source
    assert "torch.load" not in source
    (run.path / WEIGHTS).write_bytes(b"\x80\x04\x95cposix\nsystem\n")
    with pytest.raises(RunError, match="damaged"):
        run.weights()


# --- where a run can be


@pytest.mark.parametrize("content", ["file in it", "is a file"])
def test_create_never_writes_over_anything(tmp_path: Path, content: str) -> None:
    path = tmp_path / "run"
    if content == "is a file":
        path.write_text("mine")
    else:
        path.mkdir()
        (path / "notes.txt").write_text("mine")
    before = files(tmp_path)
    with pytest.raises(RunError, match="exists already") as caught:
        Run.create(path, config={}, record={})
    assert caught.value.remedy == "choose another folder with --out"
    assert files(tmp_path) == before


def test_a_run_that_exists_can_be_resumed_instead(tmp_path: Path) -> None:
    path = tmp_path / "run"
    Run.create(path, config={}, record={})
    with pytest.raises(RunError, match="exists already") as caught:
        Run.create(path, config={}, record={})
    assert f"--resume {path}" in caught.value.remedy


def test_create_takes_an_empty_folder_and_makes_parents(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    Run.create(tmp_path / "empty", config={}, record={})
    Run.create(tmp_path / "deep" / "er", config={}, record={})


def test_create_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot create"):
        Run.create(tmp_path / "file" / "run", config={}, record={})


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_open_what_is_no_run(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "empty":
        path.mkdir()
    if kind == "file":
        path.touch()
    with pytest.raises(RunError, match="is not a run folder"):
        Run.open(path)


def test_weights_that_are_not_there_yet(run: Run) -> None:
    with pytest.raises(RunError, match="has no weights yet") as caught:
        run.weights()
    assert "--resume" in caught.value.remedy
    with pytest.raises(RunError, match="is missing"):
        run.results()


# --- whole or not at all


@pytest.mark.parametrize(
    ("owner", "name"), [(Path, "replace"), (os, "fsync"), (Path, "chmod")], ids=["r", "f", "c"]
)
@pytest.mark.parametrize(
    ("failure", "raised"),
    [(OSError(errno.ENOSPC, "No space left"), RunError), (KeyboardInterrupt(), KeyboardInterrupt)],
    ids=["disk full", "interrupted"],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    failure: BaseException,
    raised: type[BaseException],
) -> None:
    run.save_weights(TENSORS)
    before = {name: (run.path / name).read_bytes() for name in files(run.path)}

    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(owner, name, fail)
    for write in (
        lambda: run.save_weights({"a": torch.zeros(2)}),
        lambda: run.update_record(seed=9),
        lambda: run.save_position({}, {"step": 1}),
    ):
        with pytest.raises(raised):
            write()
    monkeypatch.undo()
    assert {name: (run.path / name).read_bytes() for name in files(run.path)} == before


def test_content_is_on_the_disk_before_it_takes_its_name(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(handle: int) -> None:
        events.append("sync")
        fsync(handle)

    def watched_replace(self: Path, target: Path) -> Path:
        assert self.parent == target.parent  # a rename within one file system
        events.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    run.update_record(seed=3)
    assert events[:2] == ["sync", "replace"]


def test_a_reader_sees_the_old_or_the_new(tmp_path: Path) -> None:
    target = tmp_path / "x"
    replace_file(target, b"old")
    with target.open("rb") as reader:
        replace_file(target, b"new and longer")
        assert reader.read() == b"old"
    assert target.read_bytes() == b"new and longer"


def test_a_disk_that_is_full_is_named_for_the_log(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run.path / LOG).mkdir()
    with pytest.raises(RunError, match="cannot write"):
        run.append_log({"step": 1})


# --- damage


def saved_bytes(tmp_path_factory: pytest.TempPathFactory, facts: dict[str, Any]) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    run = Run.create(folder, config={}, record={})
    run.save_position(TENSORS, facts)
    return (folder / POSITION).read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return saved_bytes(tmp_path_factory, {"step": 12345, "loss": 0.5})


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run.create(tmp_path_factory.mktemp("damaged"), config={}, record={})
    run.save_position(TENSORS, {})
    return run


def read(run: Run, content: bytes) -> None:
    (run.path / POSITION).write_bytes(content)
    saved = run.position()
    assert saved is not None
    assert equal(saved[0], TENSORS)
    assert saved[1] == {"step": 12345, "loss": 0.5}


@given(st.data())
@settings(max_examples=300)
def test_a_changed_byte_is_noticed(whole: bytes, damaged: Run, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(whole) - 1))
    flip = data.draw(st.integers(1, 255))
    content = bytearray(whole)
    content[place] ^= flip
    read(damaged, whole)
    with contextlib.suppress(RunError):  # or the byte is one that nothing depends on
        read(damaged, bytes(content))


def test_every_changed_byte_of_the_facts_and_tensors_is_noticed(whole: bytes, damaged: Run) -> None:
    facts = range(whole.index(b"12345"), whole.index(b"12345") + 5)
    tensors = range(8 + int.from_bytes(whole[:8], "little"), len(whole))
    for place in (*facts, *tensors):
        content = bytearray(whole)
        content[place] ^= 1
        with pytest.raises(RunError, match="damaged"):
            read(damaged, bytes(content))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_truncated_file_is_noticed(whole: bytes, damaged: Run, share: float) -> None:
    with pytest.raises(RunError, match="damaged"):
        read(damaged, whole[: int(share * len(whole))])


def test_a_file_of_another_program_is_not_trusted(run: Run) -> None:
    from safetensors.torch import save_file

    save_file(TENSORS, run.path / WEIGHTS)
    with pytest.raises(RunError, match="does not match its digest"):
        run.weights()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"a": 1} x'])
def test_damaged_json_is_named(run: Run, content: bytes) -> None:
    (run.path / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.json"):
        run.record()


def test_missing_json_is_named(run: Run) -> None:
    (run.path / "run.json").unlink()
    with pytest.raises(RunError, match=r"run\.json is missing"):
        run.record()


# --- the log


def test_the_log_grows_line_by_line(run: Run) -> None:
    for step in range(3):
        run.append_log({"event": "step", "step": step})
    assert [entry["step"] for entry in run.log()] == [0, 1, 2]
    lines = (run.path / LOG).read_text().splitlines()
    assert json.loads(lines[1]) == {"event": "step", "step": 1}


@pytest.mark.parametrize("cut", [b'{"event": "st', b"\xff\xfe\x00", b"\x00\x00\x00", b""])
def test_a_last_line_that_was_cut_is_left_out(run: Run, cut: bytes) -> None:
    run.append_log({"step": 1})
    with (run.path / LOG).open("ab") as file:
        file.write(cut)
    assert run.log() == [{"step": 1}]
    run.truncate_log(1)
    run.append_log({"step": 2})
    assert run.log() == [{"step": 1}, {"step": 2}]


def test_the_log_is_cut_after_a_step(run: Run) -> None:
    for step in (10, 20, 30, 40):
        run.append_log({"step": step})
    run.truncate_log(25)
    assert run.log() == [{"step": 10}, {"step": 20}]
    run.truncate_log(0)
    assert run.log() == []


# --- the lock

HOLD = """
import sys
from qkv.runs import Run
with Run.open(sys.argv[1]).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_cannot_train_in_one_folder(run: Run) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    with holder, holder.stdout, holder.stdin:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process is training in"), run.locked():
            pytest.fail("two held it")
        holder.kill()
        holder.wait()
        with run.locked():
            pass


def test_the_lock_is_given_back_after_an_error(run: Run) -> None:
    with pytest.raises(ZeroDivisionError), run.locked():
        raise ZeroDivisionError
    with run.locked(), pytest.raises(RunError, match="another"), Run.open(run.path).locked():
        pytest.fail("two held it")
