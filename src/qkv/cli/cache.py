"""`qkv data cache`: the token states that were computed once, and their removal."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qkv.cli.console import print_json, printable, results_console, say
from qkv.cli.options import JsonFlag
from qkv.cli.wording import counted, mebibytes
from qkv.errors import DataError

if TYPE_CHECKING:
    from qkv.text.encoder_cache_list import CacheFacts

cache = typer.Typer(
    help="List or clear the states of texts that encoders have computed.", rich_markup_mode=None
)


@cache.command("list")
def list_cache(as_json: JsonFlag = False) -> None:
    """Show every store of states: encoder, layers, texts, size, when it was last used."""
    from qkv.text.encoder_cache import cache_root
    from qkv.text.encoder_cache_list import list_caches

    root, stores = cache_root(), list_caches()
    total = sum(store.bytes for store in stores)
    if as_json:
        print_json(
            {
                "folder": str(root),
                "stores": [_entry(store) for store in stores],
                "bytes": total,
            }
        )
        return
    if not stores:
        say(f"no states are kept in {printable(str(root))}")
        return
    from qkv.cli.tables import print_table

    columns = ("name", "encoder", "layers", "kind", "texts", "states", "size", "last used")
    rows = [
        (
            store.name,
            store.encoder,
            ", ".join(map(str, store.layers)),
            store.kind,
            f"{store.texts:,}",
            f"{store.rows:,}",
            mebibytes(store.bytes),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(store.last_used)),
        )
        for store in stores
    ]
    print_table(results_console(), f"{printable(str(root))}: {mebibytes(total)}", columns, rows)
    _say_outdated(stores, "are no longer read; `qkv data cache clear NAME` frees the disk")


@cache.command("clear")
def clear_cache(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Names that the list shows.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Clear all of them.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete stores of states; texts are encoded again when they are next needed."""
    from qkv.text.encoder_cache_list import clear_caches, list_caches

    if bool(names) == everything:
        raise DataError(
            "both names and --all were given" if names else "nothing to clear was named",
            remedy="name what `qkv data cache list` shows, or pass --all",
        )
    stores = list_caches()
    cleared = names or [store.name for store in stores]
    freed = clear_caches(cleared)
    if as_json:
        print_json({"cleared": sorted(set(cleared)), "bytes_freed": freed})
    elif cleared:
        _say_outdated([store for store in stores if store.name in cleared], "were among them")
        sys.stdout.write(
            f"{counted(len(set(cleared)), 'store')} cleared, {mebibytes(freed)} freed\n"
        )
    else:
        say("no states are kept, nothing to clear")


def _entry(store: CacheFacts) -> dict[str, Any]:
    entry = asdict(store)
    del entry["outdated"]
    return entry


def _say_outdated(stores: Sequence[CacheFacts], what: str) -> None:
    """Say which stores an earlier version wrote."""
    names = [store.name for store in stores if store.outdated]
    if names:
        say(f"states of an earlier version {what}: {', '.join(names)}")
