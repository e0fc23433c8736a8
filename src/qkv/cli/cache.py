"""`qkv data cache`: the token states that were computed once, and their removal."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import Annotated

import typer

from qkv.cli.console import print_json, printable, results_console, say
from qkv.cli.options import JsonFlag
from qkv.cli.wording import counted, mebibytes
from qkv.errors import DataError

cache = typer.Typer(
    help="List or clear the states of texts that encoders have computed.", rich_markup_mode=None
)


@cache.command("list")
def list_cache(as_json: JsonFlag = False) -> None:
    """Show every store of states: encoder, layers, texts, size, when it was last used."""
    from qkv.text.states import list_stores, states_root

    stores = list_stores()
    total = sum(store.bytes for store in stores)
    if as_json:
        print_json(
            {
                "folder": str(states_root()),
                "stores": [asdict(store) for store in stores],
                "bytes": total,
            }
        )
        return
    if not stores:
        say(f"no states are kept in {printable(str(states_root()))}")
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
    title = f"{printable(str(states_root()))}: {mebibytes(total)}"
    print_table(results_console(), title, columns, rows)


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
    from qkv.text.states import clear, list_stores

    if bool(names) == everything:
        raise DataError(
            "both names and --all were given" if names else "nothing to clear was named",
            remedy="name what `qkv data cache list` shows, or pass --all",
        )
    cleared = names or [store.name for store in list_stores()]
    freed = clear(cleared)
    if as_json:
        print_json({"cleared": sorted(set(cleared)), "bytes_freed": freed})
    elif cleared:
        sys.stdout.write(
            f"{counted(len(set(cleared)), 'store')} cleared, {mebibytes(freed)} freed\n"
        )
    else:
        say("no states are kept, nothing to clear")
