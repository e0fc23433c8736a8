"""An audit of a data set as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from qkv.cli.console import counted, percent, print_table, printable, results_console


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


_QUANTILES = {
    "min": "min",
    "p5": "5 %",
    "p25": "25 %",
    "p50": "50 %",
    "p75": "75 %",
    "p95": "95 %",
    "p99": "99 %",
    "max": "max",
}


PRINTED_GROUPS = 5
"""Groups of equal texts that are named; the document has more."""


def print_text_audit(document: dict[str, Any]) -> None:
    """Print the document of `qkv.data.audit`: facts, classes, lengths, copies, bad rows."""
    console = results_console()
    splits = list(document["splits"])
    columns = document["columns"]
    lines = {
        "source": document["source"],
        "columns": f"text {columns['text']!r}, label {columns['label']!r}" if columns else "",
        "texts": f"{document['texts']:,}",
    }
    for name, text in lines.items():
        if text:
            console.print(f"{name:<10}{printable(text)}", soft_wrap=True)
    for note in document["notes"]:
        console.print(printable(note), soft_wrap=True)
    rows = [
        [name, *(f"{counts[split]:,}" if split in counts else "-" for split in splits)]
        for name, counts in document["classes"].items()
    ]
    total = ["all", *(f"{count:,}" for count in document["splits"].values())]
    print_table(console, "Texts by class and split", ["class", *splits], [*rows, total])
    _print_lengths(console, document)
    for key, title in (
        ("duplicates", "Equal texts"),
        ("near_duplicates", "Texts equal but for capitals and white space"),
    ):
        console.print(f"\n{title}")
        _print_groups(console, document[key]["within_splits"], "within a split")
        _print_groups(console, document[key]["across_splits"], "across splits")
    if document["conflicting_labels"]["groups"]:
        console.print("\nEqual texts under different labels")
        _print_groups(console, document["conflicting_labels"], "with several labels")
    if document["bad_rows"]:
        what = "row" if columns else "file"
        console.print(f"\n{counted(len(document['bad_rows']), what)} cannot be used")
        for item in document["bad_rows"]:
            console.print(
                f"  {printable(item['path'])} {printable(item['reason'])}", soft_wrap=True
            )
    if document["warnings"]:
        console.print("\nWarnings")
        for warning in document["warnings"]:
            console.print(f"  {printable(warning)}", soft_wrap=True)


def _print_lengths(console: Console, document: dict[str, Any]) -> None:
    rows = [
        [unit, *(f"{document[unit][key]:,.0f}" for key in _QUANTILES)]
        for unit in ("characters", "tokens")
        if document[unit]
    ]
    if rows:
        print_table(console, "Lengths of the texts", ["", *_QUANTILES.values()], rows)
    if too_long := document["too_long"]:
        console.print(
            f"{counted(too_long['texts'], 'text')} ({percent(too_long['share'])}) longer than the "
            f"encoder's {too_long['positions']:,} positions",
            soft_wrap=True,
        )


def _print_groups(console: Console, groups: dict[str, Any], where: str) -> None:
    if not groups["groups"]:
        console.print(f"  none {where}")
        return
    console.print(
        f"  {counted(groups['groups'], 'group')} of {counted(groups['texts'], 'text')} {where}"
    )
    for group in groups["shown"][:PRINTED_GROUPS]:
        names = " = ".join(group["names"])
        left = group["texts"] - len(group["names"])
        more = f" and {left:,} more" if left else ""
        beginning = " ".join(group["beginning"].split())
        console.print(f"    {printable(names)}{more}: {printable(beginning)}", soft_wrap=True)
    left = groups["groups"] - PRINTED_GROUPS
    if left > 0:
        console.print(f"    and {counted(left, 'more group')}")
