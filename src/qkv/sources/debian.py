"""Data from a Debian package, fetched by the system's own tools and without root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from qkv.errors import DataError, DownloadError
from qkv.sources.artefact import Artefact, install

_UNREACHED = ("Could not resolve", "Temporary failure resolving", "Could not connect")


@dataclass(frozen=True)
class DebianPackage:
    """A package that carries artefacts.

    Attributes:
        name: the package.
        folder: absolute folder where it installs them, each as `NAME` or `NAME.gz`.
    """

    name: str
    folder: Path


def fetch_debian(
    package: DebianPackage,
    artefacts: Sequence[Artefact],
    folder: Path,
    *,
    timeout_seconds: float = 300.0,
) -> None:
    """Fetch a package, take only the artefacts out of it, and keep them verified in `folder`.

    Nothing is installed on the system, and everything but the artefacts is thrown away.

    Args:
        package: where the artefacts are.
        artefacts: what to take.
        folder: made if missing.
        timeout_seconds: for each of the system's tools.

    Raises:
        DownloadError: the tools are not here, they fail, the package lacks an artefact or holds
            other bytes, or the folder cannot be written.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise _failed(package, f"{tool} is not on this machine")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="qkv-debian-") as name:
            work = Path(name)
            archive = _fetch_package(package, work, timeout_seconds)
            tree = work / "tree.tar"
            command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
            _run(package, command, work, timeout_seconds, output=tree)
            for artefact in artefacts:
                _take(package, artefact, tree, work, folder)
    except DownloadError:
        raise
    except (DataError, tarfile.TarError) as error:
        reason = error.problem if isinstance(error, DataError) else f"a damaged archive ({error})"
        raise _failed(package, reason) from error
    except OSError as error:
        raise _failed(package, f"cannot write to {folder}: {error.strerror or error}") from error


def _fetch_package(package: DebianPackage, work: Path, timeout_seconds: float) -> Path:
    """The path of the package's archive, brought into `work`."""
    options = [
        "-qq",
        "-o=APT::Sandbox::User=root",  # the sandbox user could not write to our folder
        "-o=Acquire::Retries=1",
        "-o=Acquire::http::Timeout=15",
        "-o=Acquire::https::Timeout=15",
    ]
    fetch = ["download", package.name]
    try:
        _run(package, ["apt-get", *options, *fetch], work, timeout_seconds)
    except DownloadError as error:
        if any(words in error.problem for words in _UNREACHED):
            raise
        # The system's package lists are missing or old; private ones need no root.
        for part in ("lists/partial", "cache/archives/partial"):
            (work / part).mkdir(parents=True)
        options += [
            f"-o=Dir::State::lists={work / 'lists'}",
            f"-o=Dir::Cache={work / 'cache'}",
        ]
        _run(package, ["apt-get", *options, "update"], work, timeout_seconds)
        _run(package, ["apt-get", *options, *fetch], work, timeout_seconds)
    archives = list(work.glob("*.deb"))
    if len(archives) != 1:
        raise _failed(package, f"apt-get brought {len(archives)} archives")
    return archives[0]


def _run(
    package: DebianPackage,
    command: list[str],
    work: Path,
    timeout_seconds: float,
    output: Path | None = None,
) -> None:
    """Run a tool in `work`, its standard output into a file of its own."""
    step = " ".join(word for word in command[:1] + command[-2:] if not word.startswith("-"))
    # Files, not pipes: a grandchild that keeps a pipe open would outlive the time limit.
    log = work / "log.txt"
    with (output or log).open("wb") as out, log.open("ab" if output is None else "wb") as errors:
        try:
            done = subprocess.run(
                command,
                cwd=work,
                env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _failed(package, f"{step} took over {timeout_seconds:g} s") from None
    if done.returncode:
        said = log.read_text("utf-8", "replace").splitlines()
        told = [line.strip() for line in said if line.startswith("E:")] or said[-1:]
        raise _failed(package, f"{step}: {' '.join(told[:2]) or f'exit code {done.returncode}'}")


def _take(package: DebianPackage, artefact: Artefact, tree: Path, work: Path, folder: Path) -> None:
    """Install one artefact from the package's tree; no other member is ever unpacked."""
    inside = PurePosixPath(package.folder.as_posix()).relative_to("/")
    with tarfile.open(tree, mode="r:") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            packed = path.name == f"{artefact.name}.gz"
            if path.parent != inside or not (packed or path.name == artefact.name):
                continue
            stream = tar.extractfile(member) if member.isreg() else None
            if stream is None:
                raise _failed(package, f"{member.name} is not a regular file in it")
            staged = work / f"staged-{path.name}"
            with staged.open("wb") as out:
                shutil.copyfileobj(stream, out)
            install(artefact, staged, folder, packed=packed)
            staged.unlink()
            return
    raise _failed(package, f"{inside / artefact.name} is not in it")


def _failed(package: DebianPackage, reason: str) -> DownloadError:
    return DownloadError(
        f"the Debian package {package.name} could not be used: {reason}",
        remedy=f"install it (apt-get install {package.name})",
    )
