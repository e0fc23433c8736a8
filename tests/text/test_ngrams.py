"""The n-gram model: its bags against a plain count, its fit against its formulas, its tensors."""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression

from qkv.errors import MissingExtraError, RecipeError, RunError, ShapeError
from qkv.text import ngrams
from qkv.text.ngrams import NGramModel, NGramSettings, bag_ngrams, split_words

TOPICS = (
    "goal match team player coach",
    "vote law party minister court",
    "cake oven butter sugar bread",
)
COMMON = ["a", "the", "of", "and", "then", "there", "was", "it", "not", "very"]
ODD = (
    "",
    " ",
    "\n",
    "_",
    "🙂",
    "🙂🙂 great",
    "שלום עולם",
    "\ud800 lone",
    "x" * 5000,
    "很好看",
    "\0",
)


def made_up(texts: int, classes: int = 3, seed: int = 0) -> tuple[list[str], Any]:
    """Short texts of words of their topic among words of none."""
    generator = np.random.default_rng(seed)
    labels = np.arange(texts) % classes
    made = []
    for label in labels:
        own = generator.choice(TOPICS[label].split(), 3)
        other = generator.choice(COMMON, 5)
        made.append(" ".join(generator.permutation([*own, *other])))
    return made, labels


def plain_hash(ngram: Sequence[str], hash_bits: int) -> int:
    """The bucket of an n-gram by whole numbers, as the documentation of `bag_ngrams` has it."""

    def mix(x: int) -> int:
        for _ in range(2):
            x ^= x >> 32
            x = x * 0xD6E8FEB86659FD93 % 2**64
        return x ^ (x >> 32)

    value = 0
    for number, word in enumerate(ngram):
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        own = int.from_bytes(digest, "little")
        value = own if number == 0 else (mix(value) + own) % 2**64
    return mix((value + len(ngram)) % 2**64) >> (64 - hash_bits)


def plain_bag(text: str, max_n: int, hash_bits: int) -> Counter[int]:
    found = split_words(text)
    return Counter(
        plain_hash(found[start : start + n], hash_bits)
        for n in range(1, max_n + 1)
        for start in range(len(found) - n + 1)
    )


def bags_of(texts: Sequence[str], max_n: int, hash_bits: int) -> list[Counter[int]]:
    every = []
    for bags in bag_ngrams(texts, max_n=max_n, hash_bits=hash_bits):
        for start, stop in zip(bags.bounds[:-1], bags.bounds[1:], strict=True):
            buckets = bags.columns[start:stop]
            assert (np.diff(buckets) > 0).all()
            every.append(
                Counter(dict(zip(buckets.tolist(), bags.values[start:stop].tolist(), strict=True)))
            )
    return every


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't!! I'd give 8/10.", ["don't", "!", "!", "i'd", "give", "8", "/", "10", "."]),
        ("the _worst_ film…", ["the", "worst", "film", "…"]),
        ("'Quoted' rock’n’roll", ["'", "quoted", "'", "rock’n’roll"]),
        ("iPhone很好 カメラ", ["iphone", "很", "好", "カ", "メ", "ラ"]),
        ("so good🙂🙂", ["so", "good", "🙂", "🙂"]),
        (" \t\n_", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert split_words(text) == expected


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text("ab B!é很🙂\ud800 _'", max_size=12), max_size=8),
    st.integers(1, 4),
    st.integers(8, 30),
)
def test_bags_are_those_of_a_plain_count(texts: list[str], max_n: int, hash_bits: int) -> None:
    assert bags_of(texts, max_n, hash_bits) == [plain_bag(t, max_n, hash_bits) for t in texts]


@pytest.mark.parametrize("size", [1, 7, 40])
def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    texts = [*ODD, *made_up(9)[0]]
    whole = bags_of(texts, 3, 20)
    monkeypatch.setattr(ngrams, "_CHUNK_CHARACTERS", size)
    monkeypatch.setattr(ngrams, "_MOST_REMEMBERED", 3)
    assert bags_of(texts, 3, 20) == whole


def test_hashes_stay_what_they_are() -> None:
    # Saved models hold these numbers: whoever changes them breaks every run that exists.
    (bag,) = bags_of(["not a good film"], 2, 24)
    assert sorted(bag) == HASHES


HASHES = [2253550, 5144604, 5218679, 7962250, 8261324, 8463181, 9108455]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", ["nb", "tfidf"])
def test_topics_are_learnt(classes: int, kind: Any) -> None:
    texts, labels = made_up(240, classes)
    model = NGramModel.fit(texts[:120], labels[:120], classes, NGramSettings(kind=kind))
    logs = model.log_probabilities(texts[120:])
    assert logs.shape == (120, classes)
    assert logs.dtype == np.float32
    np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1, atol=1e-5)
    assert (logs.argmax(axis=1) == labels[120:]).mean() > 0.95
    assert model.fitted_texts == 120


def dense(texts: Sequence[str], model: NGramModel) -> Any:
    """Counts (texts, features) of the model's buckets, by the plain count."""
    bags = [plain_bag(t, model.settings.max_n, model.settings.hash_bits) for t in texts]
    return np.array([[bag[int(bucket)] for bucket in model.buckets] for bag in bags], float)


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_naive_bayes_follows_its_formulas(share: float) -> None:
    texts, labels = made_up(40, 2)
    config = NGramSettings(min_texts=2, smoothing=0.7, interpolation=share)
    model = NGramModel.fit(texts, labels, 2, config)
    seen = Counter(bucket for text in texts for bucket in plain_bag(text, 3, 30))
    assert model.buckets.tolist() == sorted(b for b, count in seen.items() if count >= 2)
    presence = (dense(texts, model) > 0).astype(float)
    p, q = (0.7 + presence[labels == label].sum(axis=0) for label in (1, 0))
    ratio = np.log((p / p.sum()) / (q / q.sum()))
    scaled = presence / np.sqrt(presence.sum(axis=1, keepdims=True))
    solver = LogisticRegression(C=300.0, solver="liblinear", tol=1e-6, max_iter=10_000)
    solver.fit(scaled * ratio, labels)
    weights = share * solver.coef_[0] + (1 - share) * np.abs(solver.coef_).mean()
    scores = (scaled * ratio) @ weights + solver.intercept_
    logs = model.log_probabilities(texts)
    np.testing.assert_allclose(logs[:, 1] - logs[:, 0], scores, atol=0.1)


def test_tfidf_follows_its_formulas() -> None:
    texts, labels = made_up(40, 3)
    texts[0] += " goal goal goal"
    model = NGramModel.fit(texts, labels, 3, NGramSettings(kind="tfidf", max_n=2))
    counts = dense(texts, model)
    idf = np.log(41 / (1 + (counts > 0).sum(axis=0))) + 1
    values = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * idf
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    scores = []
    for label in range(3):
        solver = LogisticRegression(C=300.0, solver="liblinear", tol=1e-6, max_iter=10_000)
        solver.fit(values, labels == label)
        scores.append(values @ solver.coef_[0] + solver.intercept_)
    sigmoids = 1 / (1 + np.exp(-np.stack(scores, axis=1)))
    expected = sigmoids / sigmoids.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(model.log_probabilities(texts)), expected, atol=0.01)


@pytest.mark.parametrize("kind", ["nb", "tfidf"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_model_goes_through_a_file_exactly(kind: Any, classes: int, tmp_path: Path) -> None:
    texts, labels = made_up(30, classes)
    config = NGramSettings(kind=kind)
    model = NGramModel.fit(texts, labels, classes, config)
    save_file(model.tensors(), tmp_path / "ngrams.safetensors")
    again = NGramModel.from_tensors(config, classes, load_file(tmp_path / "ngrams.safetensors"))
    np.testing.assert_array_equal(
        again.log_probabilities([*texts, *ODD]), model.log_probabilities([*texts, *ODD])
    )
    assert again.tensors().keys() == model.tensors().keys()
    for name, tensor in model.tensors().items():
        assert torch.equal(again.tensors()[name], tensor)
    assert again.fitted_texts == 30


def test_the_same_texts_give_the_same_model() -> None:
    texts, labels = made_up(60)
    once, twice = (NGramModel.fit(texts, labels, 3).tensors() for _ in range(2))
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_a_texts_answer_is_its_own() -> None:
    texts, labels = made_up(60)
    model = NGramModel.fit(texts, labels, 3)
    mixed = [*texts[:5], *ODD]
    together = model.log_probabilities(mixed)
    alone = np.concatenate([model.log_probabilities([text]) for text in mixed])
    np.testing.assert_array_equal(together, alone)
    assert model.log_probabilities([]).shape == (0, 3)


@pytest.mark.parametrize("kind", ["nb", "tfidf"])
@pytest.mark.parametrize("classes", [2, 3])
def test_odd_texts_are_fitted_too(kind: Any, classes: int) -> None:
    labels = np.arange(len(ODD)) % classes
    for texts in (ODD, ["", " "] * 5 + [""], ["one"] * len(ODD)):
        model = NGramModel.fit(texts, labels, classes, NGramSettings(kind=kind))
        assert np.isfinite(model.log_probabilities([*ODD, "new words"])).all()


@pytest.mark.parametrize("classes", [2, 4])
def test_without_an_ngram_the_class_frequencies_answer(classes: int) -> None:
    # Every text has words of its own: none is in two texts.
    labels = np.array([0] * 6 + [1] * 2)
    texts = [f"word{number}" for number in range(8)]
    model = NGramModel.fit(texts, labels, classes)
    assert len(model.buckets) == 0
    shares = np.exp(model.log_probabilities(["word1", ""]))
    np.testing.assert_array_equal(shares[0], shares[1])
    assert shares[0].argmax() == 0
    assert shares[0, 0] > 0.6
    again = NGramModel.from_tensors(model.settings, classes, model.tensors())
    np.testing.assert_array_equal(again.log_probabilities([""]), model.log_probabilities([""]))


def test_a_class_without_texts_is_never_likely() -> None:
    texts, labels = made_up(40, 2)
    logs = NGramModel.fit(texts, labels, 3).log_probabilities(texts)
    assert (np.exp(logs[:, 2]) < 0.05).all()
    assert (logs[:, :2].argmax(axis=1) == labels).all()


def test_contradictory_texts_are_no_certainty() -> None:
    model = NGramModel.fit(["same words here"] * 20, np.arange(20) % 2, 2)
    np.testing.assert_allclose(
        np.exp(model.log_probabilities(["same words here"])), [[0.5, 0.5]], atol=0.02
    )


def test_more_ngrams_than_allowed_are_fitted_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams, "_CHUNK_CHARACTERS", 200)
    texts, labels = made_up(300)
    whole = NGramModel.fit(texts, labels, 3)
    seen: list[tuple[int, int]] = []
    config = NGramSettings(max_ngrams=2000)
    part = NGramModel.fit(texts, labels, 3, config, progress=lambda *a: seen.append(a))
    assert whole.fitted_texts == 300
    assert 80 < part.fitted_texts < 110  # of about 21 n-grams each
    assert len(part.buckets) < len(whole.buckets)
    assert (part.log_probabilities(texts).argmax(axis=1) == labels).mean() > 0.9
    assert seen[-1] == (300, 300)
    tiny = NGramModel.fit(texts, labels, 3, NGramSettings(max_ngrams=1))
    assert tiny.fitted_texts > 0


def test_progress_counts_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams, "_CHUNK_CHARACTERS", 100)
    texts, labels = made_up(30)
    seen: list[tuple[int, int]] = []
    model = NGramModel.fit(texts, labels, 3, progress=lambda *a: seen.append(a))
    model.log_probabilities(texts, progress=lambda *a: seen.append(a))
    done = [count for count, _ in seen]
    half = len(done) // 2
    for part in (done[:half], done[half:]):
        assert part == sorted(set(part))
        assert part[-1] == 30
    assert {total for _, total in seen} == {30}


def spoilt(name: str, change: Any) -> dict[str, torch.Tensor]:
    texts, labels = made_up(30)
    tensors = NGramModel.fit(texts, labels, 3).tensors()
    return {**tensors, name: change(tensors[name])}


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("weights", lambda t: t[:, 1:], r"weights is float32 \(3, \d+\), not float32"),
        ("weights", lambda t: t[:1], "weights is"),
        ("weights", lambda t: t.double(), "weights is float64"),
        ("weights", lambda t: t * float("nan"), "weights is not all finite"),
        ("bias", lambda t: t[:2], r"bias is float32 \(2,\), not float32 \(3,\)"),
        ("buckets", lambda t: t.flip(0), "ascend"),
        ("buckets", lambda t: t // 2 + 2**30, "out of range"),
        ("buckets", lambda t: t - 2**30, "out of range"),
        ("buckets", lambda t: t[None], "buckets is int32"),
        ("fitted_texts", lambda t: t[None], "fitted_texts is"),
    ],
)
def test_damaged_tensors_are_refused(name: str, change: Any, words: str) -> None:
    with pytest.raises(RunError, match=words):
        NGramModel.from_tensors(NGramSettings(), 3, spoilt(name, change))


def test_tensors_of_another_model_are_refused() -> None:
    texts, labels = made_up(30)
    tensors = NGramModel.fit(texts, labels, 3).tensors()
    with pytest.raises(RunError, match=r"\(tfidf\): idf is missing, not float32"):
        NGramModel.from_tensors(NGramSettings(kind="tfidf"), 3, tensors)
    with pytest.raises(RunError, match="bias is float32"):
        NGramModel.from_tensors(NGramSettings(), 2, tensors)
    with pytest.raises(RunError, match="out of range"):
        NGramModel.from_tensors(NGramSettings(hash_bits=8), 3, tensors)
    with pytest.raises(RunError, match="extra is float32 .*, not there"):
        NGramModel.from_tensors(NGramSettings(), 3, {**tensors, "extra": tensors["bias"]})
    with pytest.raises(RunError, match="buckets is missing"):
        del tensors["buckets"]
        NGramModel.from_tensors(NGramSettings(), 3, tensors)


@pytest.mark.parametrize(
    ("texts", "labels", "classes"),
    [
        ([], np.zeros(0, int), 2),
        (["a", "b"], np.array([0, 0]), 1),
        (["a", "b"], np.array([0]), 2),
        (["a", "b"], np.array([0, 2]), 2),
        (["a", "b"], np.array([-1, 0]), 2),
        (["a", "b"], np.array([0.0, 1.0]), 2),
    ],
)
def test_what_does_not_fit_is_refused(texts: list[str], labels: Any, classes: int) -> None:
    with pytest.raises(ShapeError, match="texts"):
        NGramModel.fit(texts, labels, classes)


def test_without_scikit_learn_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, labels = made_up(30)
    model = NGramModel.fit(texts, labels, 3)
    for name in [name for name in sys.modules if re.match(r"(sklearn|scipy)\b", name)]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("sklearn", "scipy"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"scikit-learn.*pip install 'qkv\[text\]'"):
        NGramModel.fit(texts, labels, 3)
    assert (model.log_probabilities(texts).argmax(axis=1) == labels).all()  # needs numpy alone


@pytest.mark.parametrize(
    "change", [{"hash_bits": 31}, {"max_n": 0}, {"kind": "svm"}, {"ngrams": 2}]
)
def test_wrong_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=f"ngrams: .*{next(iter(change))}"):
        NGramSettings.parse(change, where="ngrams")
