"""What each way of cutting reads, against the plain meaning of the words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.errors import RecipeError
from qkv.text.windows import Cut, TruncationSettings, Window, cut, cut_off

CLS, SEP = 101, 102


def windows_of(length: int, *, positions: int, **settings: object) -> list[Window]:
    pieces = np.arange(1000, 1000 + length, dtype=np.int32)
    truncation = TruncationSettings.parse(settings, where="test")
    return cut(pieces, truncation, positions=positions, cls_id=CLS, sep_id=SEP)


def joined(windows: list[Window]) -> list[int]:
    return [int(token) for window in windows for token in window.input_ids[window.keep]]


def only(windows: list[Window]) -> list[int]:
    (window,) = windows
    assert window.keep == slice(0, len(window.input_ids))
    assert window.input_ids.dtype == np.int32
    return window.input_ids.tolist()


@pytest.mark.parametrize("kind", ["head", "tail", "head+tail", "windows"])
@pytest.mark.parametrize("length", [0, 1, 7, 8])
def test_what_fits_is_read_whole(kind: str, length: int) -> None:
    windows = windows_of(length, positions=10, kind=kind, head_tokens=3, overlap_tokens=2)
    assert only(windows) == [CLS, *range(1000, 1000 + length), SEP]


def test_head_tail_and_both() -> None:
    assert only(windows_of(9, positions=8, kind="head")) == [CLS, *range(1000, 1006), SEP]
    assert only(windows_of(9, positions=8, kind="tail")) == [CLS, *range(1003, 1009), SEP]
    both = only(windows_of(9, positions=8, kind="head+tail", head_tokens=2))
    assert both == [CLS, 1000, 1001, 1005, 1006, 1007, 1008, SEP]


def test_a_text_of_512_positions_keeps_510_pieces() -> None:
    ids = only(windows_of(600, positions=512))
    assert len(ids) == 512
    assert ids == [CLS, *range(1000, 1510), SEP]


def test_max_tokens_counts_the_special_ones() -> None:
    assert only(windows_of(9, positions=512, max_tokens=5)) == [CLS, 1000, 1001, 1002, SEP]


def test_windows_by_hand() -> None:
    # Six pieces a window, two shared: 0–5, 4–9, 8–10.
    first, second, third = windows_of(11, positions=8, kind="windows", overlap_tokens=2)
    assert first.input_ids.tolist() == [CLS, 1000, 1001, 1002, 1003, 1004, 1005, SEP]
    assert second.input_ids.tolist() == [CLS, 1004, 1005, 1006, 1007, 1008, 1009, SEP]
    assert first.keep == slice(0, 6)
    assert second.keep == slice(2, 6)
    assert third.input_ids.tolist() == [CLS, 1008, 1009, 1010, SEP]
    assert third.keep == slice(2, 5)


@given(
    length=st.integers(0, 120),
    positions=st.integers(6, 30),
    overlap=st.integers(0, 27),
    max_windows=st.integers(1, 9),
)
def test_windows_follow_their_definition(
    length: int, positions: int, overlap: int, max_windows: int
) -> None:
    overlap = min(overlap, positions - 3)
    windows = windows_of(
        length,
        positions=positions,
        kind="windows",
        overlap_tokens=overlap,
        max_windows=max_windows,
    )
    assert len(windows) <= max_windows
    read = max(int(window.input_ids[:-1].max()) for window in windows) - 999 if length else 0
    assert joined(windows) == [CLS, *range(1000, 1000 + read), SEP]
    assert read == length or len(windows) == max_windows
    lost = cut_off(
        np.array([length]),
        TruncationSettings(kind="windows", overlap_tokens=overlap, max_windows=max_windows),
        positions=positions,
    )
    assert lost == Cut(texts=int(read < length), tokens=length - read)
    # Whoever has a piece with more context on its poorer side gives its state; of two equals the
    # earlier.
    for piece in range(1000, 1000 + read):
        poorer = {
            number: min(piece - ids[1], ids[-2] - piece)
            for number, ids in enumerate(window.input_ids for window in windows)
            if piece in ids[1:-1]
        }
        givers = [
            number
            for number, window in enumerate(windows)
            if piece in window.input_ids[window.keep]
        ]
        assert givers == [max(poorer, key=lambda number: poorer[number])]


@pytest.mark.parametrize("kind", ["head", "tail", "head+tail"])
def test_what_is_cut_off_is_counted(kind: str) -> None:
    truncation = TruncationSettings.parse({"kind": kind, "head_tokens": 2}, where="test")
    lost = cut_off(np.array([0, 6, 7, 20]), truncation, positions=8)
    assert lost == Cut(texts=2, tokens=1 + 14)


@pytest.mark.parametrize(
    ("settings", "positions", "message"),
    [
        ({"max_tokens": 600}, 512, "max_tokens is 600, but the encoder reads 512 at once; set it"),
        ({"kind": "windows"}, 100, "overlap_tokens is 128, but must be below the window's 98"),
        ({"kind": "head+tail"}, 130, "head_tokens is 128, but must be below the window's 128"),
        ({}, 2, "the encoder reads 2 tokens at once, two of them special"),
    ],
)
def test_settings_that_do_not_fit_the_encoder(
    settings: dict[str, object], positions: int, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        windows_of(9, positions=positions, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "middle"}, "kind"),
        ({"max_tokens": 2}, "max_tokens"),
        ({"max_windows": 0}, "max_windows"),
        ({"overlap_tokens": -1}, "overlap_tokens"),
        ({"kind": "windows", "max_tokens": 64}, "must be below the window's 62"),
        ({"kind": "head+tail", "max_tokens": 64}, "must be below the window's 62"),
    ],
)
def test_settings_that_fit_nothing(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        TruncationSettings.parse(settings, where="test")
