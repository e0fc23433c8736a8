"""What a text model reads, and of which word each of its tokens is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_text_models import LONG, VARIANTS, WINDOWS, tiny_classifier

from qkv.errors import DataError
from qkv.explanation.text_words import NO_WORD, ReadText

TRUNCATIONS: list[dict[str, Any]] = [
    {"kind": "head"},
    {"kind": "tail"},
    {"kind": "head+tail", "head_tokens": 20},
    WINDOWS,
    {**WINDOWS, "max_windows": 2},
]


@pytest.mark.parametrize("truncation", TRUNCATIONS, ids=str)
def test_each_token_is_a_piece_of_its_word(bert: Path, truncation: dict[str, Any]) -> None:
    classifier = tiny_classifier(bert, truncation=truncation)
    read = ReadText(classifier, LONG)
    tokenizer = classifier.reading.encoder.tokenizer
    prepared = classifier.reading.encoder.prepare([LONG])
    np.testing.assert_array_equal(
        np.concatenate([window.input_ids for window in read.windows]), prepared.ids
    )
    assert len(read.words_of_states) == prepared.rows[0]
    for window in read.windows:
        assert window.words[0] == window.words[-1] == NO_WORD
        assert (window.words[1:-1] != NO_WORD).all()
        for number in np.unique(window.words[1:-1]):
            of_word = tokenizer.encode([read.words[number].text])[0].tolist()
            standing = window.input_ids[window.words == number].tolist()
            # A word at a window's end may lack pieces.
            assert str(standing)[1:-1] in str(of_word)
    special = [0, -1]
    assert (read.words_of_states[special] == NO_WORD).all()
    assert (read.words_of_states == NO_WORD).sum() == 2
    counted = read.by_word(np.ones(len(read.words_of_states)))
    np.testing.assert_array_equal(np.flatnonzero(counted), read.words_read)
    assert counted.sum() == prepared.rows[0] - 2


def test_truncation_says_which_words_are_read(bert: Path) -> None:
    read = {
        str(truncation): ReadText(tiny_classifier(bert, truncation=truncation), LONG)
        for truncation in TRUNCATIONS
    }
    head, tail, both, windows, two = read.values()
    last = len(windows.words) - 1
    assert windows.words_read.tolist() == list(range(last + 1))
    assert len(windows.windows) == 3
    assert head.words_read[0] == both.words_read[0] == 0
    assert head.words_read[-1] < two.words_read[-1] < last
    assert tail.words_read[0] > 0
    assert tail.words_read[-1] == both.words_read[-1] == last
    assert (np.diff(both.words_read) > 1).sum() == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_states_are_those_that_the_head_reads(bert: Path, variant: str) -> None:
    classifier = tiny_classifier(bert, **{**VARIANTS[variant], "stacked": False})
    read = ReadText(classifier, LONG)
    states, mask = read.states()
    assert states.shape == (1, len(read.words_of_states), 16)
    logits = classifier.model.head(states, mask)
    np.testing.assert_allclose(
        logits.detach().numpy(), classifier.neural_logits([LONG]).numpy(), atol=1e-5
    )


def test_there_is_nothing_to_read_in_an_empty_text(bert: Path) -> None:
    with pytest.raises(DataError, match="the text is empty"):
        ReadText(tiny_classifier(bert), "")
