"""`qkv data cache`: what is kept, and its removal."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from known_states import KnownStates
from qkv.files import locked
from qkv.text.encoder_cache import EncoderCache, lock_path

Call = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the stores in a cache of the test's own."""
    monkeypatch.setenv("QKV_CACHE", str(tmp_path))
    return tmp_path / "states"


def fill(name: str, *, kind: Any = "float16", age_seconds: float = 0.0) -> EncoderCache:
    encoder = KnownStates(name=name)
    store = EncoderCache(encoder.facts, encoder.dim, kind=kind)
    store.fill(encoder, ["a", "b c", "b c"])
    used = time.time() - age_seconds
    os.utime(store.folder, (used, used))
    return store


def size(store: EncoderCache) -> int:
    return sum(path.stat().st_size for path in store.folder.iterdir())


def test_list_shows_every_store_the_last_used_first(qkv: Call, root: Path) -> None:
    old = fill("some/[red]bert", age_seconds=86400.0)
    new = fill("minilm", kind="int8")
    outcome = qkv("data", "cache", "list", "--json")
    assert outcome.code == 0
    document = outcome.json
    assert document["folder"] == str(root)
    assert document["bytes"] == size(old) + size(new)
    first, second = document["stores"]
    last_used = first.pop("last_used")
    assert abs(last_used - time.time()) < 60
    assert first == {
        "name": new.folder.name,
        "encoder": "minilm",
        "layers": [2],
        "kind": "int8",
        "texts": 2,
        "rows": 7,
        "bytes": size(new),
    }
    assert (second["encoder"], second["kind"]) == ("some/[red]bert", "float16")

    table = qkv("data", "cache", "list").out
    assert str(root) in table
    assert old.folder.name in table
    assert "some/[red]bert" in table
    day = time.strftime("%Y-%m-%d", time.localtime(second["last_used"]))
    assert day in table


def test_reading_counts_as_use(qkv: Call, root: Path) -> None:
    store = fill("minilm", age_seconds=86400.0)
    store.reader(["a"])
    [listed] = qkv("data", "cache", "list", "--json").json["stores"]
    assert abs(listed["last_used"] - time.time()) < 60


def test_an_empty_cache_says_so(qkv: Call, root: Path) -> None:
    outcome = qkv("data", "cache", "list")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == f"no states are kept in {root}\n"
    document = qkv("data", "cache", "list", "--json").json
    assert document == {"folder": str(root), "stores": [], "bytes": 0}
    outcome = qkv("data", "cache", "clear", "--all")
    assert (outcome.code, outcome.err) == (0, "no states are kept, nothing to clear\n")
    assert qkv("data", "cache", "clear", "--all", "--json").json == {
        "cleared": [],
        "bytes_freed": 0,
    }


def test_clear_removes_what_is_named_and_nothing_else(qkv: Call, root: Path) -> None:
    one, two = fill("one"), fill("two")
    freed = size(one)
    outcome = qkv("data", "cache", "clear", one.folder.name, one.folder.name, "--json")
    assert outcome.code == 0
    assert outcome.json == {"cleared": [one.folder.name], "bytes_freed": freed}
    assert not one.folder.exists()
    assert two.folder.exists()
    assert len(one.missing(["a"])) == 1


def test_clear_all(qkv: Call, root: Path) -> None:
    stores = [fill("one"), fill("two")]
    (root / "notes of the user").mkdir()
    outcome = qkv("data", "cache", "clear", "--all")
    assert outcome.code == 0
    assert outcome.out.startswith("2 stores cleared, 0.0 MiB freed")
    assert not any(store.folder.exists() for store in stores)
    assert (root / "notes of the user").exists()


def test_a_damaged_store_is_listed_and_can_be_cleared(qkv: Call, root: Path) -> None:
    store = fill("one")
    for content in ("{", "[]", '{"facts": 1, "dim": 6, "kind": "float16"}', '{"facts": {}}'):
        (store.folder / "facts.json").write_text(content)
        [listed] = qkv("data", "cache", "list", "--json").json["stores"]
        assert (listed["encoder"], listed["kind"], listed["texts"]) == ("unknown", "unknown", 0)
        assert listed["bytes"] == size(store)
    assert qkv("data", "cache", "clear", store.folder.name).code == 0
    assert not store.folder.exists()


def test_a_store_of_an_earlier_version_is_named_and_cleared(qkv: Call, root: Path) -> None:
    """Its facts as version 0.1.0 wrote them, beside segments that nobody reads any more."""
    facts = (
        '{"dim":6,"facts":{"layers":[2],"name":"minilm","precision":"float32"},"format":1,'
        '"kind":"float16"}'
    )
    old = root / f"minilm-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"
    old.mkdir(parents=True)
    (old / "facts.json").write_text(facts)
    (old / "0123456789abcdef.safetensors").write_bytes(b"x" * 1000)
    new = fill("minilm")
    assert new.folder != old
    listed = {
        store["name"]: store for store in qkv("data", "cache", "list", "--json").json["stores"]
    }
    assert (listed[old.name]["encoder"], listed[old.name]["kind"]) == ("minilm", "float16")
    assert (listed[old.name]["texts"], listed[old.name]["rows"]) == (0, 0)
    assert listed[old.name]["bytes"] > 1000
    assert listed[new.folder.name].keys() == listed[old.name].keys()
    said = qkv("data", "cache", "list").err
    assert "states of an earlier version are no longer read" in said
    assert said.count("minilm-") == 1
    outcome = qkv("data", "cache", "clear", "--all")
    assert (outcome.code, outcome.err.count(old.name)) == (0, 1)
    assert "2 stores cleared" in outcome.out
    assert not old.exists()


def test_links_are_not_followed(qkv: Call, root: Path, tmp_path: Path) -> None:
    store = fill("one")
    elsewhere = tmp_path / "precious"
    shutil.move(store.folder, elsewhere)
    store.folder.symlink_to(elsewhere)
    assert qkv("data", "cache", "list", "--json").json["stores"] == []
    assert qkv("data", "cache", "clear", "--all").code == 0
    assert json.loads((elsewhere / "facts.json").read_text())


@pytest.mark.parametrize("name", ["..", "../precious", "locks", "/", "one"])
def test_an_unknown_name_is_refused(qkv: Call, root: Path, name: str) -> None:
    store = fill("one")
    outcome = qkv("data", "cache", "clear", store.folder.name, name)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"there are no states called {name!r} in {root}" in outcome.err
    assert store.folder.name in outcome.err
    assert outcome.err.count("\n") == 1
    assert store.folder.exists()


def test_a_misspelt_name_gets_the_nearest(qkv: Call, root: Path) -> None:
    names = [fill("minilm").folder.name, fill("bert").folder.name]
    outcome = qkv("data", "cache", "clear", names[0][:-2])
    assert f"did you mean {names[0]!r}?" in outcome.err


def test_a_name_where_nothing_is_kept(qkv: Call, root: Path) -> None:
    outcome = qkv("data", "cache", "clear", "one-0123456789abcdef")
    assert outcome.code == 2
    assert "the cache is empty" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to clear was named"),
        (["one", "--all"], "both names and --all were given"),
    ],
)
def test_clear_wants_names_or_all(
    qkv: Call, root: Path, arguments: list[str], message: str
) -> None:
    outcome = qkv("data", "cache", "clear", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert "--all" in outcome.err
    assert outcome.err.count("\n") == 1


def test_what_is_being_filled_is_not_cleared(qkv: Call, root: Path) -> None:
    one, two = fill("one"), fill("two")
    with locked(lock_path(two.folder)):
        outcome = qkv("data", "cache", "clear", "--all")
    assert outcome.code == 2
    assert f"another process is adding to the states of {two.folder.name}; wait" in outcome.err
    assert one.folder.exists()
    assert two.folder.exists()
    assert qkv("data", "cache", "clear", "--all").code == 0
