"""Which text file of a folder belongs to which split and class."""

from __future__ import annotations

from pathlib import Path

from qkv.class_folders import ClassFolders, ExampleFiles, scan_class_folders

SUFFIX = ".txt"
TEXTS = ExampleFiles(
    what="text files",
    suffixes=frozenset({SUFFIX}),
    only=f"is not a {SUFFIX} file",
    train="train/{class}/….txt",
    remedy="name a table, a folder with a table called train, or one laid out as {class}/….txt",
)


def scan_text_folders(root: Path) -> ClassFolders:
    """List the text files of a folder with their split and class.

    Raises:
        DataError: the layout is ambiguous, the folder cannot be listed, or no file lies in a class
            folder.
    """
    return scan_class_folders(root, TEXTS)
