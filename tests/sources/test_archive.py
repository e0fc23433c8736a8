"""Archives: what is in them comes out, and nothing else ever does."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.errors import DataError
from qkv.sources import ArchiveLimits, archive_members

ROOMY = ArchiveLimits(members=100, member_bytes=100_000, total_bytes=1_000_000)
FILES = {"a/one.txt": b"one", "a/two.txt": b"x" * 1500, "b/empty.txt": b""}


def member(name: str, content: bytes = b"", **facts: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, content


def tar_of(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


SMALL = tar_of(*(member(name, content) for name, content in FILES.items()))


def read(path: Path, content: bytes, limits: ArchiveLimits = ROOMY) -> dict[str, bytes]:
    path.write_bytes(content)
    return dict(archive_members(path, lambda name: name.endswith(".txt"), limits))


# --- what comes out -------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_wanted_files_come_out(tmp_path: Path, form: int, packed: bool) -> None:
    long = "folder-" * 12 + "/" + "name" * 20 + ".txt"
    archive = tar_of(
        member("a", type=tarfile.DIRTYPE),
        *(member(name, content) for name, content in FILES.items()),
        member("a/other.dat", b"y" * 70_000),
        member(long, "naïve".encode()),
        form=form,
    )
    content = gzip.compress(archive) if packed else archive
    assert read(tmp_path / "x", content) == {**FILES, long: "naïve".encode()}


def test_the_order_is_the_archives(tmp_path: Path) -> None:
    names = ["z.txt", "a.txt", "m.txt"]
    assert list(read(tmp_path / "x", tar_of(*map(member, names)))) == names


def test_names_are_plain(tmp_path: Path) -> None:
    assert read(tmp_path / "x", tar_of(member("./a//b/./c.txt", b"1"))) == {"a/b/c.txt": b"1"}


@given(st.lists(st.binary(max_size=1100), max_size=6))
def test_any_files_come_back(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.tar"
    files = {f"{number}.txt": content for number, content in enumerate(contents)}
    assert read(path, tar_of(*(member(*pair) for pair in files.items()))) == files


def test_nothing_is_written(tmp_path: Path) -> None:
    read(tmp_path / "x", gzip.compress(SMALL))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "evil",
    [
        member("/etc/x.txt"),
        member("../x.txt"),
        member("a/../../x.txt"),
        member("a/.."),
        member("a\\..\\x.txt"),
        member("C:\\x.txt"),
        member("l.txt", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("l.txt", type=tarfile.LNKTYPE, linkname="a/one.txt"),
        member("unwanted", type=tarfile.SYMTYPE, linkname="a"),
        member("d.txt", type=tarfile.CHRTYPE),
        member("d.txt", type=tarfile.BLKTYPE),
        member("d.txt", type=tarfile.FIFOTYPE),
        member("d.txt", type=tarfile.CONTTYPE),
        member("d.txt", type=b"Z"),
        member("/up", type=tarfile.DIRTYPE),
        member("../up", type=tarfile.DIRTYPE),
        member("p.txt", pax_headers={"path": "../x.txt"}),
        member("a/one.txt", b"again"),
        member("./a//one.txt", b"again"),
    ],
    ids=lambda evil: f"{evil[0].name}-{evil[0].type!r}",
)
@pytest.mark.parametrize("first", [False, True])
def test_evil_members_condemn_the_archive(
    tmp_path: Path, evil: tuple[tarfile.TarInfo, bytes], first: bool
) -> None:
    good = [member(name, content) for name, content in FILES.items()]
    members = [evil, *good] if first else [*good, evil]
    form = tarfile.PAX_FORMAT if evil[0].pax_headers else tarfile.GNU_FORMAT
    with pytest.raises(DataError, match="x.tar is refused: .*(neither|plain relative|twice)"):
        read(tmp_path / "x.tar", tar_of(*members, form=form))


def test_a_sparse_file(tmp_path: Path) -> None:
    sparse = {"GNU.sparse.major": "0", "GNU.sparse.size": "99", "GNU.sparse.map": "0,1"}
    archive = tar_of(member("s.txt", b"1", pax_headers=sparse), form=tarfile.PAX_FORMAT)
    with pytest.raises(DataError, match=r"'s.txt' is neither a regular file"):
        read(tmp_path / "x", archive)


def test_a_negative_size(tmp_path: Path) -> None:
    archive = bytearray(tar_of(member("n.txt", b"1")))
    archive[124:136] = b"\xff" * 12  # −1 in base 256
    archive[148:156] = b" " * 8
    archive[148:156] = f"{sum(archive[:512]):06o}\0 ".encode()
    with pytest.raises(DataError, match="negative size|header"):  # newer Pythons see it first
        read(tmp_path / "x", bytes(archive))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (ArchiveLimits(2, 100_000, 1_000_000), "more than 2 members"),
        (ArchiveLimits(100, 1499, 1_000_000), "'a/two.txt' has more than 1,499 B"),
        (ArchiveLimits(100, 100_000, 4000), "more than 4,000 bytes"),
    ],
)
def test_limits(tmp_path: Path, limits: ArchiveLimits, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(tmp_path / "x", SMALL, limits)


def test_limits_that_are_just_enough(tmp_path: Path) -> None:
    assert read(tmp_path / "x", SMALL, ArchiveLimits(3, 1500, len(SMALL))) == FILES


def test_a_bomb_of_what_is_not_wanted(tmp_path: Path) -> None:
    bomb = gzip.compress(tar_of(member("zeros.dat", bytes(3_000_000))))
    assert len(bomb) < 10_000
    with pytest.raises(DataError, match="more than 1,000,000 bytes"):
        read(tmp_path / "x", bomb)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_header_that_asks_for_memory(tmp_path: Path, form: int) -> None:
    size = 60_000_000
    archive = gzip.compress(tar_of(member("n" * size + ".txt"), form=form), 1)
    roomy = ArchiveLimits(100, 100, 1 << 40)
    (tmp_path / "x").write_bytes(archive)
    del archive
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="a header in it is too long"):
            list(archive_members(tmp_path / "x", lambda name: True, roomy))
        assert tracemalloc.get_traced_memory()[1] < size / 4
    finally:
        tracemalloc.stop()


# --- what is damaged ------------------------------------------------------------------------


@pytest.mark.parametrize("keep", range(0, len(SMALL.rstrip(b"\0")) + 512, 256))
def test_a_cut_archive(tmp_path: Path, keep: int) -> None:
    with pytest.raises(DataError, match="x.tar is a damaged archive"):
        read(tmp_path / "x.tar", SMALL[:keep])


@given(st.data())
def test_a_cut_or_changed_gzip_archive(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    packed = gzip.compress(SMALL, mtime=0)
    path = tmp_path_factory.getbasetemp() / "cut.tar.gz"
    at = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(DataError):
        read(path, packed[:at])
    changed = bytearray(packed)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert read(path, bytes(changed)) == FILES  # a time or a flag of gzip's own
    except DataError as error:
        assert "cut.tar.gz" in error.problem


def test_a_wrong_header_in_the_middle(tmp_path: Path) -> None:
    damaged = bytearray(SMALL)
    damaged[1024 + 3] ^= 1  # in the name of the second member
    with pytest.raises(DataError, match="it has a wrong header"):
        read(tmp_path / "x", bytes(damaged))


def test_what_is_no_archive(tmp_path: Path) -> None:
    for content in (b"", b"hello", b"\x1f\x8b", gzip.compress(b"hello"), b"<html>" * 500):
        with pytest.raises(DataError, match="damaged archive"):
            read(tmp_path / "x", content)
    with pytest.raises(DataError, match="cannot be read"):
        list(archive_members(tmp_path / "nowhere", lambda name: True, ROOMY))
