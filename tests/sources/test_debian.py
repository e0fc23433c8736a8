"""Debian packages: only verified artefacts come out, and every failure is told."""

from __future__ import annotations

import gzip
import hashlib
import random
import time
from pathlib import Path
from typing import Any

import pytest

from qkv.errors import DownloadError
from qkv.sources import Artefact, DebianPackage, fetch_debian

CONTENT = random.Random(1).randbytes(300_007)
PACKAGE = DebianPackage("x", Path("/usr/share/x"))
THING = Artefact("thing", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_debian_package_gives_the_artefact_and_nothing_else(tools: Any, tmp_path: Path) -> None:
    fetch_debian(PACKAGE, [THING], tmp_path / "out")
    assert left_in(tmp_path / "out") == {"thing"}
    assert (tmp_path / "out" / "thing").read_bytes() == CONTENT
    assert tools.steps == ["download"]


def test_debian_lists_are_fetched_privately_when_missing(tools: Any, tmp_path: Path) -> None:
    tools.apt(
        f'case "$*" in *update*) exit 0;; *Dir::State::lists*) cp {tools.archive} x.deb; exit 0;; '
        '*) echo "E: Unable to locate package x" >&2; exit 100;; esac'
    )
    fetch_debian(PACKAGE, [THING], tmp_path / "out")
    assert tools.steps == ["download", "update", "download"]


@pytest.mark.parametrize(
    ("apt", "words", "steps"),
    [
        ("echo \"E: Could not resolve 'host'\" >&2; exit 100", "Could not resolve", 1),
        ('echo "E: Unable to locate package x" >&2; exit 100', "Unable to locate", 2),
        ("exit 3", "exit code 3", 2),
        ("exit 0", "brought 0 archives", 1),
        ("printf nonsense > x.deb", "damaged archive", 1),
    ],
)
def test_debian_failures_are_told(
    tools: Any, tmp_path: Path, apt: str, words: str, steps: int
) -> None:
    tools.apt(apt)
    with pytest.raises(DownloadError, match=words) as caught:
        fetch_debian(PACKAGE, [THING], tmp_path / "out")
    assert "apt-get install x" in caught.value.remedy
    assert len(tools.steps) == steps
    assert left_in(tmp_path / "out") == set()


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"./usr/share/other/thing": CONTENT}, "usr/share/x/thing is not in it"),
        ({"./usr/share/x/../x/thing": CONTENT}, "is not in it"),
        ({"./usr/share/x/thing": None}, "not a regular file"),
        ({"./usr/share/x/thing": CONTENT[::-1]}, "sha256"),
        ({"./usr/share/x/thing.gz": gzip.compress(bytes(8 << 20))}, "more than the"),
    ],
)
def test_debian_package_with_other_content(
    tools: Any, tmp_path: Path, members: dict[str, bytes | None], words: str
) -> None:
    tools.pack(members)
    with pytest.raises(DownloadError, match=words):
        fetch_debian(PACKAGE, [THING], tmp_path / "out")
    assert left_in(tmp_path / "out") == set()


def test_debian_tools_have_a_time_limit(tools: Any, tmp_path: Path) -> None:
    tools.apt("exec sleep 20")
    begun = time.monotonic()
    with pytest.raises(DownloadError, match=r"took over 0\.2 s"):
        fetch_debian(PACKAGE, [THING], tmp_path / "out", timeout_seconds=0.2)
    assert time.monotonic() - begun < 5


def test_debian_tools_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match="apt-get is not on this machine"):
        fetch_debian(PACKAGE, [THING], tmp_path / "out")
