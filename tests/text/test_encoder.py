"""The encoder computes what transformers computes, whatever stands beside a text."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from minilm import minilm_folder
from safetensors.torch import load_file, save_file
from tiny_encoders import hidden_states, save_tiny_encoder
from torch import Tensor
from transformers import AutoConfig, AutoModel, BertConfig

from qkv.errors import DataError, MissingExtraError, RecipeError, ShapeError
from qkv.text.encoder import Encoder, EncoderSettings, load_encoder, locate_encoder
from qkv.text.encoder.hub import FAMILIES, read_folder

CPU = torch.device("cpu")
KINDS = ["albert", "bert", "camembert", "deberta-v2", "distilbert", "electra", "mpnet", "roberta"]
ALONE = [kind for kind in KINDS if FAMILIES[kind].stack is not None]
LENGTHS = [3, 17, 8, 1]


def opened(folder: Path, precision: Any = "float32") -> Encoder:
    files = read_folder(folder, name="tiny", revision=None, source="test")
    return load_encoder(files, device=CPU, precision=precision)


def padded(
    lengths: Sequence[int], *, vocabulary: int = 97, pad_id: int = 0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.randint(4, vocabulary, mask.shape, generator=generator)
    return ids.masked_fill(~mask, pad_id), mask


@cache
def minilm(precision: Any) -> Encoder:
    return load_encoder(locate_encoder("all-MiniLM-L6-v2"), device=CPU, precision=precision)


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_is_that_of_transformers(tmp_path: Path, kind: str) -> None:
    model = save_tiny_encoder(tmp_path, kind)
    encoder = opened(tmp_path)
    ids, mask = padded(LENGTHS, pad_id=model.config.pad_token_id)
    with torch.no_grad():
        expected = model(ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states
    assert (encoder.dim, encoder.num_layers) == (24, 3)
    for layer in range(4):
        states = hidden_states(encoder, ids, mask, [layer])
        torch.testing.assert_close(states[mask], expected[layer][mask], atol=1e-5, rtol=1e-5)
        assert not states[~mask].any()
    mean = (expected[0] + expected[2] + expected[3]) / 3
    several = hidden_states(encoder, ids, mask, [0, 2, 3])
    torch.testing.assert_close(several[mask], mean[mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_positions_are_those_that_transformers_can_read(tmp_path: Path, kind: str) -> None:
    model = save_tiny_encoder(tmp_path, kind)
    encoder = opened(tmp_path)
    after_padding = kind in {"camembert", "mpnet", "roberta"}
    assert encoder.positions == (38 if after_padding else 40)
    ids, mask = padded([encoder.positions], pad_id=model.config.pad_token_id)
    with torch.no_grad():
        expected = model(ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(
        hidden_states(encoder, ids, mask, [3]), expected, atol=1e-5, rtol=1e-5
    )
    with pytest.raises(ShapeError, match=f"has {encoder.positions + 1} tokens"):
        hidden_states(encoder, *padded([encoder.positions + 1]), [3])


def test_minilm_is_that_of_transformers() -> None:
    config = AutoConfig.from_pretrained(minilm_folder(), local_files_only=True)
    model = AutoModel.from_config(config).eval()
    tensors = load_file(minilm_folder() / "model.safetensors")
    tensors.pop("embeddings.position_ids")
    model.load_state_dict(tensors)
    encoder = minilm("float32")
    assert (encoder.dim, encoder.num_layers, encoder.positions) == (384, 6, 512)
    assert encoder.parameters == 22_713_216
    ids, mask = padded([70, 512, 2], vocabulary=30_522)
    with torch.no_grad():
        expected = model(ids, attention_mask=mask.long()).last_hidden_state
    states = hidden_states(encoder, ids, mask, [6])
    torch.testing.assert_close(states[mask], expected[mask], atol=1e-5, rtol=1e-5)


def test_bert_base_uncased_has_the_printed_counts(tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=30_522,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=512,
        type_vocab_size=2,
    )
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    config.save_pretrained(tmp_path)
    # Zeros are counted as well as random numbers are.
    save_file(
        {
            f"bert.{name}": torch.zeros(p.shape, dtype=torch.float16)
            for name, p in model.named_parameters()
        },
        tmp_path / "model.safetensors",
    )
    (tmp_path / "vocab.txt").write_bytes((minilm_folder() / "vocab.txt").read_bytes())
    encoder = opened(tmp_path)
    assert encoder.parameters == 109_482_240
    head = 2_759_169
    assert encoder.parameters + head == 112_241_409
    assert (encoder.dim, encoder.num_layers, encoder.positions) == (768, 12, 512)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_states_do_not_depend_on_the_batch(precision: Any) -> None:
    encoder = minilm(precision)
    generator = np.random.default_rng(11)
    # Many processors emulate bfloat16, at a fortieth of the speed.
    exact = precision == "float32"
    lengths, layers = ((5, 512, 33, 190, 64), [6]) if exact else ((5, 70, 33, 20), [2])
    windows = [generator.integers(1000, 30_000, length).astype(np.int32) for length in lengths]
    alone = [encoder.packed_states([window], layers).float() for window in windows]
    for _ in range(3):
        order = generator.permutation(len(windows))[: generator.integers(2, len(windows) + 1)]
        together = encoder.packed_states([windows[index] for index in order], layers).float()
        parts = torch.split(together, [len(windows[index]) for index in order])
        for index, part in zip(order, parts, strict=True):
            if precision == "bfloat16":
                assert torch.equal(part, alone[index])
            else:
                torch.testing.assert_close(part, alone[index], atol=2e-6, rtol=0)


@pytest.mark.parametrize("kind", ["mpnet", "deberta-v2"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_nor_do_they_where_the_model_runs_as_a_whole(
    tmp_path: Path, kind: str, precision: Any
) -> None:
    save_tiny_encoder(tmp_path, kind)
    encoder = opened(tmp_path, precision)
    ids, mask = padded([9, 30, 2], pad_id=1)
    together = hidden_states(encoder, ids, mask, [3]).float()
    for row, length in enumerate([9, 30, 2]):
        alone = hidden_states(
            encoder, ids[row : row + 1, :length], mask[row : row + 1, :length], [3]
        )
        tolerance = 0 if precision == "bfloat16" else 1e-5
        torch.testing.assert_close(
            together[row, :length], alone[0].float(), atol=tolerance, rtol=tolerance
        )


def test_bfloat16_is_near_float32() -> None:
    ids, mask = padded([50, 120], vocabulary=30_522)
    exact, rounded = (hidden_states(minilm(p), ids, mask, [6]) for p in ("float32", "bfloat16"))
    assert rounded.dtype == torch.bfloat16
    difference = (rounded.float() - exact)[mask]
    assert 0 < difference.square().mean() < 0.03**2 * exact[mask].square().mean()


@pytest.mark.parametrize("kind", ALONE)
def test_layers_above_the_highest_are_not_computed(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny_encoder(tmp_path, kind)
    encoder = opened(tmp_path)
    called: list[int] = []
    assert encoder._stack is not None
    for number, layer in enumerate(encoder._stack.top.layers, start=1):
        layer.register_forward_hook(lambda *_, number=number: called.append(number))
    hidden_states(encoder, *padded(LENGTHS), [0, 2])
    assert called == [1, 2]


@pytest.mark.parametrize("layers", [[], [4], [-1]])
def test_layers_that_are_not_there(tmp_path: Path, layers: list[int]) -> None:
    save_tiny_encoder(tmp_path)
    with pytest.raises(RecipeError, match="no layer among"):
        hidden_states(opened(tmp_path), *padded([3]), layers)


def test_no_windows_have_no_states(tmp_path: Path) -> None:
    save_tiny_encoder(tmp_path)
    assert opened(tmp_path).packed_states([], [3]).shape == (0, 24)


@pytest.mark.parametrize("layers", ["last", 3, [3]])
def test_layers_as_settings_name_them(layers: Any) -> None:
    assert EncoderSettings(layers=layers).resolved_layers(3) == [3]
    assert EncoderSettings(layers=[2, 0]).resolved_layers(3) == [0, 2]


@pytest.mark.parametrize("layers", [4, [], [1, 1], [1, 9]])
def test_layers_that_settings_cannot_name(layers: Any) -> None:
    with pytest.raises(RecipeError, match="has layers 0 to 3"):
        EncoderSettings(layers=layers).resolved_layers(3)


def test_names_of_old_and_of_headed_checkpoints(tmp_path: Path) -> None:
    save_tiny_encoder(tmp_path)
    ids, mask = padded(LENGTHS)
    expected = hidden_states(opened(tmp_path), ids, mask, [3])
    path = tmp_path / "model.safetensors"
    old = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in load_file(path).items()
        if not name.startswith("pooler")
    }
    old["cls.predictions.bias"] = torch.zeros(97)
    old["bert.embeddings.position_ids"] = torch.arange(40)[None]
    save_file(old, path)
    assert torch.equal(hidden_states(opened(tmp_path), ids, mask, [3]), expected)


def test_weights_in_several_files(tmp_path: Path) -> None:
    model = save_tiny_encoder(tmp_path)
    ids, mask = padded(LENGTHS)
    expected = hidden_states(opened(tmp_path), ids, mask, [3])
    (tmp_path / "model.safetensors").unlink()
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert torch.equal(hidden_states(opened(tmp_path), ids, mask, [3]), expected)


def changed_weights(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("encoder.layer.1.output.dense.bias"),
            r"lack encoder\.layer\.1\.output\.dense\.bias;",
        ),
        (
            lambda t: [t.pop(name) for name in list(t) if ".layer.2." in name],
            "lack encoder.layer.2.* and 15 more",
        ),
        (
            lambda t: t.update({"embeddings.word_embeddings.weight": torch.zeros(96, 24)}),
            r"float32 \(96, 24\), but config.json says float \(97, 24\)",
        ),
        (
            lambda t: t.update({"encoder.layer.0.output.dense.bias": torch.zeros(24).long()}),
            r"int64 \(24,\)",
        ),
    ],
)
def test_weights_that_are_not_the_config_s(tmp_path: Path, change: Any, message: str) -> None:
    save_tiny_encoder(tmp_path)
    changed_weights(tmp_path, change)
    with pytest.raises(DataError, match=message):
        opened(tmp_path)


def test_damaged_weights(tmp_path: Path) -> None:
    save_tiny_encoder(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"model.safetensors cannot be read"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "gpt2"}', "no encoder of model_type 'gpt2'; choose one of albert, bert"),
        ('{"model_type": "no-such-model"}', "config.json cannot be used"),
        ('{"hidden_size": 24}', "config.json cannot be used"),
        ("{", "config.json cannot be used"),
        ("[]", "config.json cannot be used"),
        (
            '{"model_type": "bert", "auto_map": {"AutoConfig": "evil.Config"}, "hidden_size": 25}',
            "config.json cannot be used: The hidden size",
        ),
    ],
)
def test_configs_that_cannot_be_used(tmp_path: Path, config: str, message: str) -> None:
    save_tiny_encoder(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(DataError, match=message) as raised:
        opened(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_decoder_s_config_does_not_hide_what_comes_later(tmp_path: Path) -> None:
    save_tiny_encoder(tmp_path)
    ids, mask = padded(LENGTHS)
    expected = hidden_states(opened(tmp_path), ids, mask, [3])
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "is_decoder": True}))
    assert torch.equal(hidden_states(opened(tmp_path), ids, mask, [3]), expected)


def test_half_precision_weights_are_read(tmp_path: Path) -> None:
    save_tiny_encoder(tmp_path)
    changed_weights(tmp_path, lambda t: t.update({k: v.half() for k, v in t.items()}))
    states = hidden_states(opened(tmp_path), *padded(LENGTHS), [3])
    assert states.dtype == torch.float32


def test_loading_moves_no_generator_and_no_verbosity(tmp_path: Path) -> None:
    from transformers.utils import logging

    save_tiny_encoder(tmp_path)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    before = logging.get_verbosity()
    opened(tmp_path)
    assert torch.equal(torch.rand(3), expected)
    assert logging.get_verbosity() == before


def test_loading_and_encoding_print_nothing() -> None:
    script = """
        import torch
        from qkv.text.encoder import EncoderSettings
        from qkv.text.text_encoder import open_text_encoder

        encoder = open_text_encoder(EncoderSettings(), device=torch.device("cpu"))
        list(encoder.encode(encoder.prepare(["good film " * 600, "bad"])))
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_transformers_the_remedy_is_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny_encoder(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"transformers; pip install 'qkv\[text\]'"):
        opened(tmp_path)


def test_identity_is_json(tmp_path: Path) -> None:
    save_tiny_encoder(tmp_path)
    identity = opened(tmp_path).identity
    assert json.loads(json.dumps(identity)) == identity
    assert set(identity) == {"name", "revision", "weights_sha256", "config_sha256"}


def test_every_known_kind_is_known_to_transformers() -> None:
    for kind in FAMILIES:
        assert AutoConfig.for_model(kind).model_type == kind
