"""An audit of a data set as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from qkv.cli.console import printable, results_console
from qkv.cli.tables import print_table
from qkv.cli.wording import counted


def print_audit(document: dict[str, Any]) -> None:
    """Print the document of `qkv.data.audit`: facts, classes by split, copies, bad files."""
    console = results_console()
    splits = list(document["splits"])
    lines = {
        "source": document["source"],
        "images": f"{document['images']:,}",
        "width": _spread(document["width"]),
        "height": _spread(document["height"]),
        "modes": _counts(document["modes"]),
        "formats": _counts(document["formats"]),
    }
    for name, text in lines.items():
        if text:
            console.print(f"{name:<10}{printable(text)}", soft_wrap=True)
    rows = [
        [name, *(f"{counts[split]:,}" if split in counts else "-" for split in splits)]
        for name, counts in document["classes"].items()
    ]
    total = ["all", *(f"{count:,}" for count in document["splits"].values())]
    print_table(console, "Images by class and split", ["class", *splits], [*rows, total])
    console.print("\nExact copies")
    for key, where in (("within_splits", "within a split"), ("across_splits", "across splits")):
        _print_copies(console, document["duplicates"][key], where)
    if document["bad_files"]:
        console.print(f"\n{counted(len(document['bad_files']), 'file')} cannot be used")
        for item in document["bad_files"]:
            console.print(
                f"  {printable(item['path'])}: {printable(item['reason'])}", soft_wrap=True
            )
    if document["warnings"]:
        console.print("\nWarnings")
        for warning in document["warnings"]:
            console.print(f"  {printable(warning)}", soft_wrap=True)


def _print_copies(console: Console, copies: dict[str, Any], where: str) -> None:
    if not copies["groups"]:
        console.print(f"  none {where}")
        return
    console.print(
        f"  {counted(copies['groups'], 'group')} of {counted(copies['images'], 'image')} {where}"
    )
    for group in copies["shown"]:
        console.print(f"    {printable(' = '.join(group))}", soft_wrap=True)
    left = copies["groups"] - len(copies["shown"])
    if left:
        console.print(f"    and {left:,} more groups")


def _spread(values: dict[str, float] | None) -> str:
    if values is None:
        return ""
    if values["min"] == values["max"]:
        return f"{values['min']:g} pixels"
    return f"{values['min']:g} to {values['max']:g} pixels, median {values['median']:g}"


def _counts(values: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in values.items())
