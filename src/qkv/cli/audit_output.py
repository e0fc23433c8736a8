"""An audit of a data set as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from qkv.cli.console import counted, percent, print_facts, print_table, printable, results_console

PRINTED_GROUPS = 5
"""Groups of equal texts that are named; the document has more."""

_WHERE = {"within_splits": "within a split", "across_splits": "across splits"}
_QUANTILES = ("min", "p5", "p25", "p50", "p75", "p95", "p99", "max")


def print_audit(document: dict[str, Any]) -> None:
    """Print the audit of an image data set: facts, classes by split, copies, bad files."""
    console = results_console()
    facts = {
        "source": document["source"],
        "images": f"{document['images']:,}",
        "width": _spread(document["width"]),
        "height": _spread(document["height"]),
        "modes": _counts(document["modes"]),
        "formats": _counts(document["formats"]),
    }
    _print_facts_and_classes(console, document, facts, "Images")
    console.print("\nExact copies")
    for key, where in _WHERE.items():
        copies = document["duplicates"][key]
        _print_groups(console, copies, "image", where, [" = ".join(one) for one in copies["shown"]])
    bad = [f"{item['path']}: {item['reason']}" for item in document["bad_files"]]
    _print_list(console, f"{counted(len(bad), 'file')} cannot be used", bad)
    _print_list(console, "Warnings", document["warnings"])


def print_text_audit(document: dict[str, Any]) -> None:
    """Print the audit of a text data set: facts, classes, lengths, copies, bad rows."""
    console = results_console()
    columns = document["columns"]
    facts = {
        "source": document["source"],
        "columns": f"text {columns['text']!r}, label {columns['label']!r}" if columns else "",
        "texts": f"{document['texts']:,}",
    }
    _print_facts_and_classes(console, document, facts, "Texts")
    _print_lengths(console, document)
    for key, title in (
        ("duplicates", "Equal texts"),
        ("near_duplicates", "Texts equal but for capitals and white space"),
    ):
        console.print(f"\n{title}")
        for splits, where in _WHERE.items():
            _print_text_groups(console, document[key][splits], where)
    if document["conflicting_labels"]["groups"]:
        console.print("\nEqual texts under different labels")
        _print_text_groups(console, document["conflicting_labels"], "with several labels")
    bad = [f"{item['path']} {item['reason']}" for item in document["bad_rows"]]
    what = counted(len(bad), "row" if columns else "file")
    _print_list(console, f"{what} cannot be used", bad)
    _print_list(console, "Warnings", document["warnings"])


def _print_facts_and_classes(
    console: Console, document: dict[str, Any], facts: dict[str, str], title: str
) -> None:
    splits = list(document["splits"])
    print_facts(console, {name: text for name, text in facts.items() if text}, 10)
    for note in document.get("notes", ()):
        console.print(printable(note), soft_wrap=True)
    rows = [
        [name, *(f"{counts[split]:,}" if split in counts else "-" for split in splits)]
        for name, counts in document["classes"].items()
    ]
    total = ["all", *(f"{count:,}" for count in document["splits"].values())]
    print_table(console, f"{title} by class and split", ["class", *splits], [*rows, total])


def _print_lengths(console: Console, document: dict[str, Any]) -> None:
    rows = [
        [unit, *(f"{document[unit][key]:,.0f}" for key in _QUANTILES)]
        for unit in ("characters", "tokens")
        if document[unit]
    ]
    heads = ["", *(f"{key[1:]} %" if key[0] == "p" else key for key in _QUANTILES)]
    if rows:
        print_table(console, "Lengths of the texts", heads, rows)
    if too_long := document["too_long"]:
        console.print(
            f"{counted(too_long['texts'], 'text')} ({percent(too_long['share'])}) longer than the "
            f"encoder's {too_long['positions']:,} positions",
            soft_wrap=True,
        )


def _print_text_groups(console: Console, groups: dict[str, Any], where: str) -> None:
    lines = []
    for group in groups["shown"][:PRINTED_GROUPS]:
        left = group["texts"] - len(group["names"])
        more = f" and {left:,} more" if left else ""
        beginning = " ".join(group["beginning"].split())
        lines.append(f"{' = '.join(group['names'])}{more}: {beginning}")
    _print_groups(console, groups, "text", where, lines)


def _print_groups(
    console: Console, groups: dict[str, Any], noun: str, where: str, lines: list[str]
) -> None:
    if not groups["groups"]:
        console.print(f"  none {where}")
        return
    examples = counted(groups[f"{noun}s"], noun)
    console.print(f"  {counted(groups['groups'], 'group')} of {examples} {where}")
    for line in lines:
        console.print(f"    {printable(line)}", soft_wrap=True)
    if left := groups["groups"] - len(lines):
        console.print(f"    and {counted(left, 'more group')}")


def _print_list(console: Console, title: str, lines: list[str]) -> None:
    if lines:
        console.print(f"\n{title}")
    for line in lines:
        console.print(f"  {printable(line)}", soft_wrap=True)


def _spread(values: dict[str, float] | None) -> str:
    if values is None:
        return ""
    if values["min"] == values["max"]:
        return f"{values['min']:g} pixels"
    return f"{values['min']:g} to {values['max']:g} pixels, median {values['median']:g}"


def _counts(values: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in values.items())
