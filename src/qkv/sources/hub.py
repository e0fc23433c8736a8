"""Named files of a repository on the Hugging Face hub, at a revision, through the hub's cache."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qkv.errors import DownloadError, MissingExtraError

Kind = Literal["model", "dataset"]


@dataclass(frozen=True)
class HubSnapshot:
    """Files of a repository as they were at one commit.

    Attributes:
        folder: holds the files at their paths in the repository; it belongs to the hub's cache
            and must not be written.
        revision: the commit, 40 hex digits.
    """

    folder: Path
    revision: str


def hub_files(
    repository: str,
    patterns: Sequence[str],
    *,
    revision: str | None,
    kind: Kind = "model",
    local_only: bool = False,
) -> HubSnapshot:
    """Bring the matching files of a repository into the hub's cache, or find them there.

    The hub's own variables apply: `HF_HOME` and `HF_HUB_CACHE` place the cache, `HF_HUB_OFFLINE`
    forbids the network, `HF_TOKEN` opens private repositories. Where the hub cannot be reached,
    the cache answers; files that are in the cache are not fetched again.

    Args:
        repository: `OWNER/NAME`, or `NAME` for the hub's oldest models.
        patterns: names or shell patterns (`*.safetensors`) of the files wanted. The hub need not
            have them all, and an old cache may hold fewer than the hub has: the caller checks for
            those it cannot do without.
        revision: a commit, a tag or a branch; None is the main branch.
        kind: which of the hub's two name spaces the repository is in.
        local_only: look into the hub's cache and nowhere else.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        DownloadError: no matching file can be had; says why and what to do.
    """
    try:
        from huggingface_hub import errors
    except ImportError:
        raise MissingExtraError(
            f"the {kind} {repository} of the hub needs the package huggingface_hub",
            remedy="pip install 'qkv[text]'",
        ) from None
    failures: tuple[type[BaseException], ...] = (
        *errors.HfHubHTTPError.__bases__,  # the base of its http library's errors, whichever it is
        errors.EntryNotFoundError,
        OSError,
        ValueError,  # a malformed name or proxy
        RuntimeError,  # its own transfer library
    )
    try:
        folder = _snapshot(repository, patterns, revision, kind, local_only, failures)
    except failures as error:
        raise _failed(repository, kind, revision, _reason(error)) from error
    held = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    if not any(fnmatch.fnmatch(name, pattern) for name in held for pattern in patterns):
        wanted = ", ".join(patterns)
        raise _failed(repository, kind, revision, f"it has no file called {wanted} there")
    return HubSnapshot(folder, folder.name)


def _snapshot(
    repository: str,
    patterns: Sequence[str],
    revision: str | None,
    kind: Kind,
    local_only: bool,
    failures: tuple[type[BaseException], ...],
) -> Path:
    from huggingface_hub import HfApi, errors, snapshot_download

    unanswered: BaseException | None = None
    if not local_only:
        try:
            # Asked once, to know at once: a listing is asked for over and over for half a minute.
            HfApi().repo_info(repository, revision=revision, repo_type=kind)
        except failures as error:
            unanswered = error
    try:
        folder = snapshot_download(
            repository,
            repo_type=kind,
            revision=revision,
            allow_patterns=list(patterns),
            local_files_only=local_only or unanswered is not None,
        )
    except errors.LocalEntryNotFoundError as error:
        raise error from unanswered
    return Path(folder)


def _reason(error: BaseException) -> str:
    """One short sentence; the hub's own messages run over many lines."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "the hub asks for permission: accept its terms there and set HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub has no such repository, or it is private and needs HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the hub has no such revision"
    if isinstance(error, errors.HFValidationError):
        return "the hub allows no such name"
    if isinstance(error, errors.LocalEntryNotFoundError):
        cause = error.__cause__
        answers = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError)
        if isinstance(cause, (*answers, errors.HFValidationError)):
            return _reason(cause)
        incomplete = isinstance(error, getattr(errors, "IncompleteSnapshotError", ()))
        held = "the hub's cache holds it in part" if incomplete else "it is not in the hub's cache"
        if cause is None or isinstance(cause, errors.OfflineModeIsEnabled):
            return f"{held} and the network was not to be used"
        return f"{held} and the hub could not be reached: {_line(cause)}"
    return _line(error)


def _line(error: BaseException) -> str:
    """The first line of a message, else the error's kind."""
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else type(error).__name__


def _failed(repository: str, kind: Kind, revision: str | None, reason: str) -> DownloadError:
    at = f" at revision {revision}" if revision else ""
    return DownloadError(
        f"the {kind} {repository}{at} could not be had from the hub ({reason})",
        remedy="check the name and the network, or name a local folder",
    )
