"""Every error qkv raises on purpose.

An error names the problem (what and where) and the remedy (what to do), so that the command line
can print one line and stop with `exit_code`. Anything that is not a `QKVError` is a bug.
"""

from __future__ import annotations

from collections.abc import Sequence


class QKVError(Exception):
    """Base of every deliberate error: a problem and its remedy, on one line."""

    exit_code = 2

    def __init__(self, problem: str, *, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem.rstrip('.')}; {self.remedy.rstrip('.')}"


class RecipeError(QKVError):
    """A recipe, or a `--set` upon it, has a wrong key or a wrong value."""


class ShapeError(QKVError, ValueError):
    """A tensor has a shape, dtype or value that the function cannot take."""


class NormaliserError(QKVError, ArithmeticError):
    """Linear attention would divide by weights that do not sum to a safely positive number."""


class IntegerOverflowError(QKVError, OverflowError):
    """An exact result does not fit in the integers of its dtype."""


class DeviceError(QKVError):
    """The device or precision asked for is not there."""


class MissingExtraError(QKVError):
    """An optional package is needed and not installed."""


class DataError(QKVError):
    """Data are missing, malformed or unfit to train on."""


class DownloadError(DataError):
    """A download failed or did not give the expected bytes."""


class ImageError(DataError):
    """One image file cannot be decoded."""


class BadFilesError(DataError):
    """Several files are unusable; `files` lists each as (path, reason)."""

    def __init__(self, problem: str, *, remedy: str, files: Sequence[tuple[str, str]]) -> None:
        super().__init__(problem, remedy=remedy)
        self.files = tuple(files)


class RunError(QKVError):
    """A run folder is missing, incomplete, damaged, or in use."""


class DivergenceError(QKVError):
    """The loss became infinite or not a number."""


class StudyError(QKVError):
    """A study is asked for what it cannot do."""


class ServerStartError(QKVError):
    """What is to be served fails before the first request."""


class InterruptedRunError(QKVError):
    """The user stopped a run; what it reached is saved and can be resumed."""

    exit_code = 130
