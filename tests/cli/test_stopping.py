"""Ctrl-C while training: one line, exit code 130, and a run that goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = Callable[..., Any]
EPOCHS = 10_000  # minutes: it cannot end by itself before the signal comes


def test_an_interrupted_training_goes_on_where_it_stopped(
    qkv: Call, photos: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-W", "error", "-m", "qkv", "train", "vision"]
    process = subprocess.Popen(
        [*command, "--data", str(photos), "--out", str(run), *tiny, f"training.epochs={EPOCHS}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 1"):
            process.send_signal(signal.SIGINT)
            break
    out, rest = process.communicate(timeout=60)
    last = rest.splitlines()[-1]
    assert process.returncode == 130, rest
    assert out == ""
    assert "Traceback" not in rest
    assert last.startswith("qkv: stopped at step ")
    assert f"qkv train --resume {run}" in last
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "interrupted"
    reached = len(record["epochs"])
    assert 1 <= reached < EPOCHS

    # The rest is cut to two epochs, so that the test need not wait for minutes.
    record["recipe"]["training"]["epochs"] = reached + 2
    (run / "run.json").write_text(json.dumps(record))
    resumed = qkv("train", "--resume", run, "--json")
    assert resumed.code == 0, resumed.err
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert [entry["epoch"] for entry in record["epochs"]] == list(range(1, reached + 3))
    assert resumed.json["test"]["examples"] == 3
    assert "estimate" not in resumed.err  # it went on, and did not begin again
