"""Trainable copies compute what the frozen encoder computes, and learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_encoders import hidden_states, save_tiny_encoder

from qkv.text.encoder import Encoder, load_encoder
from qkv.text.encoder.hub import read_folder

ALONE = ["bert", "camembert", "distilbert", "electra", "roberta"]
WHOLE = ["albert", "deberta-v2", "mpnet"]


def opened(folder: Path, kind: str, precision: str = "float32") -> Encoder:
    save_tiny_encoder(folder, kind)
    files = read_folder(folder, name="tiny", revision=None, source="test")
    return load_encoder(files, device=torch.device("cpu"), precision=precision)  # type: ignore[arg-type]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.arange(14) < torch.tensor([14, 3, 9])[:, None]
    ids = torch.randint(4, 97, mask.shape, generator=torch.Generator().manual_seed(2))
    return ids, mask


@pytest.mark.parametrize("kind", ALONE)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_top_continues_from_the_layer_below(tmp_path: Path, kind: str, n: int) -> None:
    encoder = opened(tmp_path, kind)
    ids, mask = batch()
    below = hidden_states(encoder, ids, mask, [3 - n])
    states = encoder.top(n)(below, mask)
    torch.testing.assert_close(
        states[mask], hidden_states(encoder, ids, mask, [3])[mask], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("kind", [*ALONE, *WHOLE])
def test_the_whole_is_the_encoder_whatever_fills_the_batch(tmp_path: Path, kind: str) -> None:
    encoder = opened(tmp_path, kind)
    ids, mask = batch()
    expected = hidden_states(encoder, ids, mask, [3])[mask]
    for filled in (ids, ids.masked_fill(~mask, 0), ids.masked_fill(~mask, 1)):
        states = encoder.whole()(filled, mask)
        torch.testing.assert_close(states[mask], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ALONE)
def test_every_weight_of_the_copies_learns(tmp_path: Path, kind: str) -> None:
    encoder = opened(tmp_path, kind)
    ids, mask = batch()
    below = hidden_states(encoder, ids, mask, [1])
    for copy, inputs in ((encoder.top(2), below), (encoder.whole(), ids)):
        copy(inputs, mask)[mask].square().sum().backward()
        assert list(copy.parameters())
        for name, parameter in copy.named_parameters():
            assert parameter.dtype == torch.float32
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("kind", ALONE)
def test_dropout_acts_while_training_alone(tmp_path: Path, kind: str) -> None:
    encoder = opened(tmp_path, kind)
    ids, mask = batch()
    below = hidden_states(encoder, ids, mask, [1])
    for copy, inputs in ((encoder.top(2), below), (encoder.whole(), ids)):
        assert not copy.training
        assert torch.equal(copy(inputs, mask), copy(inputs, mask))
        copy.train()
        assert not torch.equal(copy(inputs, mask), copy(inputs, mask))


def test_attention_dropout_is_the_config_s(tmp_path: Path) -> None:
    save_tiny_encoder(tmp_path, "bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    files = read_folder(tmp_path, name="tiny", revision=None, source="test")
    top = load_encoder(files, device=torch.device("cpu"), precision="float32").top(1)
    states, mask = torch.randn(3, 14, 24), batch()[1]
    assert torch.equal(top(states, mask), top(states, mask))
    top.train()
    assert not torch.equal(top(states, mask), top(states, mask))


def test_padding_does_not_reach_a_text_through_the_copies(tmp_path: Path) -> None:
    encoder = opened(tmp_path, "bert")
    ids, mask = batch()
    below = hidden_states(encoder, ids, mask, [2])
    spoilt = below.masked_fill(~mask[:, :, None], 1e4)
    top = encoder.top(1)
    torch.testing.assert_close(top(spoilt, mask)[mask], top(below, mask)[mask], atol=1e-5, rtol=0)


def test_copies_are_their_own_and_exact(tmp_path: Path) -> None:
    encoder = opened(tmp_path, "bert", "bfloat16")
    ids, mask = batch()
    before = hidden_states(encoder, ids, mask, [3])
    top = encoder.top(3)
    exact = load_encoder(encoder.files, device=torch.device("cpu"), precision="float32")
    expected = hidden_states(exact, ids, mask, [3])[mask]
    states = top(hidden_states(exact, ids, mask, [0]), mask)[mask]
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        for parameter in [*top.parameters(), *encoder.whole().parameters()]:
            parameter.zero_()
    assert torch.equal(hidden_states(encoder, ids, mask, [3]), before)
    # The weights are mapped into memory: the file must not change with them.
    again = load_encoder(encoder.files, device=torch.device("cpu"), precision="float32")
    assert torch.equal(hidden_states(again, ids, mask, [3]), hidden_states(exact, ids, mask, [3]))
