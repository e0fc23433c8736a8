"""The Vision Transformer: its size, its inside, and its agreement with someone else's code."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import ViTConfig, ViTForImageClassification

from qkv.attention import softmax_attention_weights
from qkv.errors import RecipeError
from qkv.training.recipe import load_recipe
from qkv.vision.vit import ViT, ViTArchitecture, ViTSettings, parameter_count

SMALL = {
    "image_size": 21,
    "patch_size": 7,
    "channels": 3,
    "dim": 24,
    "depth": 3,
    "num_heads": 3,
    "head_dim": 8,
    "mlp_dim": 41,
    "num_classes": 5,
    "embedding_std": 0.5,
}


def settings(**changes: Any) -> ViTSettings:
    return ViTSettings.parse({**SMALL, **changes}, where="test")


def model(**changes: Any) -> ViT:
    torch.manual_seed(3)
    return ViT(settings(**changes)).eval()


def images(of: ViT, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    size = of.settings.image_size
    return torch.randn(batch, of.settings.channels, size, size, generator=generator)


# --- size


def test_the_reference_settings_have_598794_parameters() -> None:
    recipe = load_recipe("fashion-mnist", "reference")
    data = {"image_size": 28, "channels": 1, "num_classes": 10}
    reference = ViT(ViTSettings.parse({**recipe.model.model_dump(), **data}, where="test"))
    assert parameter_count(reference) == 598_794


def test_the_fast_recipe_is_no_larger_than_promised() -> None:
    recipe = load_recipe("fashion-mnist")
    data = {"image_size": 28, "channels": 1, "num_classes": 10}
    assert recipe.model.patch_size == 4
    assert (recipe.model.depth, recipe.model.num_heads) == (6, 4)
    fast = ViT(ViTSettings.parse({**recipe.model.model_dump(), **data}, where="test"))
    assert parameter_count(fast) <= 600_000
    assert recipe.training.epochs <= 5


def test_frozen_parameters_are_not_counted() -> None:
    vit = model()
    before = parameter_count(vit)
    vit.head.requires_grad_(False)
    assert parameter_count(vit) == before - (24 * 5 + 5)


def test_drawn_embeddings_have_the_asked_spread() -> None:
    vit = model(dim=512, embedding_std=0.7)
    assert isinstance(vit.positions, torch.nn.Parameter)
    assert vit.positions.std().item() == pytest.approx(0.7, rel=0.05)
    assert vit.class_token is not None
    assert vit.class_token.std().item() == pytest.approx(0.7, rel=0.15)


def test_xavier_draws_by_its_formula_and_zeroes_biases() -> None:
    vit = model(initial_weights="xavier", dim=256, mlp_dim=512)
    for name, layer in vit.named_modules():
        if not isinstance(layer, torch.nn.Linear):
            continue
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
        largest = layer.weight.abs().max().item()
        assert 0.97 * bound < largest < 1.0001 * bound, name
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05), name
        assert layer.bias is None or layer.bias.abs().max() == 0, name
    plain = model(dim=256, mlp_dim=512)
    assert plain.head.bias.abs().max() > 0


# --- agreement with transformers


def theirs(ours: ViT) -> ViTForImageClassification:
    """The same network in `transformers`, with the weights of `ours`."""
    s = ours.settings
    config = ViTConfig(
        hidden_size=s.dim,
        num_hidden_layers=s.depth,
        num_attention_heads=s.num_heads,
        intermediate_size=s.mlp_dim,
        hidden_act="gelu",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-5,
        image_size=s.image_size,
        patch_size=s.patch_size,
        num_channels=s.channels,
        qkv_bias=True,
        num_labels=s.num_classes,
        attn_implementation="eager",
    )
    other = ViTForImageClassification(config).eval()
    mine = ours.state_dict()
    # A linear stem reads a patch as (row, column, channel), a convolution channel first.
    stem = mine["stem.weight"].view(s.dim, s.patch_size, s.patch_size, s.channels)
    mapped = {
        "vit.embeddings.cls_token": mine["class_token"],
        "vit.embeddings.position_embeddings": mine["positions"],
        "vit.embeddings.patch_embeddings.projection.weight": stem.permute(0, 3, 1, 2),
        "vit.embeddings.patch_embeddings.projection.bias": mine["stem.bias"],
        "vit.layernorm.weight": mine["norm.weight"],
        "vit.layernorm.bias": mine["norm.bias"],
        "classifier.weight": mine["head.weight"],
        "classifier.bias": mine["head.bias"],
    }
    for index, kind in itertools.product(range(s.depth), ["weight", "bias"]):
        block, layer = f"blocks.{index}", f"vit.layers.{index}"
        query, key, value = mine[f"{block}.attention.qkv.{kind}"].chunk(3)
        mapped |= {
            f"{layer}.attention.q_proj.{kind}": query,
            f"{layer}.attention.k_proj.{kind}": key,
            f"{layer}.attention.v_proj.{kind}": value,
            f"{layer}.attention.o_proj.{kind}": mine[f"{block}.attention.output.{kind}"],
            f"{layer}.layernorm_before.{kind}": mine[f"{block}.attention_norm.{kind}"],
            f"{layer}.layernorm_after.{kind}": mine[f"{block}.mlp_norm.{kind}"],
            f"{layer}.mlp.fc1.{kind}": mine[f"{block}.mlp.0.{kind}"],
            f"{layer}.mlp.fc2.{kind}": mine[f"{block}.mlp.3.{kind}"],
        }
    other.load_state_dict(mapped)
    return other


def randomised(vit: ViT) -> ViT:
    """Norms and biases away from ones and zeros, so that none of them can be left out."""
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return vit


@pytest.mark.parametrize(
    "changes",
    [{}, {"channels": 1, "image_size": 28, "dim": 20, "num_heads": 4, "head_dim": 5, "depth": 2}],
)
def test_logits_and_gradients_agree_with_transformers(changes: dict[str, Any]) -> None:
    ours = randomised(model(qkv_bias=True, **changes))
    other = theirs(ours)
    batch = images(ours, 3)
    logits = ours(batch)
    expected = other(batch).logits
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)

    labels = torch.tensor([0, 4, 2])
    torch.nn.functional.cross_entropy(logits, labels).backward()
    torch.nn.functional.cross_entropy(expected, labels).backward()
    first, last = ours.blocks[0], ours.blocks[-1]
    layers = other.vit.layers
    for mine, yours in [
        (
            first.attention.qkv.weight,
            [getattr(layers[0].attention, f"{n}_proj").weight for n in "qkv"],
        ),
        (last.attention.output.bias, [layers[-1].attention.o_proj.bias]),
        (last.mlp[0].weight, [layers[-1].mlp.fc1.weight]),
        (ours.positions, [other.vit.embeddings.position_embeddings]),
        (ours.class_token, [other.vit.embeddings.cls_token]),
    ]:
        gradient = torch.cat([parameter.grad for parameter in yours])
        assert gradient.abs().max() > 1e-5
        torch.testing.assert_close(mine.grad, gradient, rtol=1e-4, atol=1e-6)


# --- the inside

VARIANTS: list[dict[str, Any]] = [
    {},
    {"pooling": "mean"},
    {"positions": "sine_cosine"},
    {"pooling": "mean", "positions": "sine_cosine", "channels": 1},
    {"stem": "convolutional", "image_size": 24, "patch_size": 8},
    {"stem": "convolutional", "image_size": 5, "patch_size": 1, "pooling": "mean"},
    {"head_dim": 5, "qkv_bias": True},
    {"attention": "linear"},
    {"attention": "linear", "pooling": "mean", "qkv_bias": True},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_intermediates_are_what_the_plain_path_computes(changes: dict[str, Any]) -> None:
    vit = model(**changes)
    s = vit.settings
    batch = images(vit)
    logits, named = vit.forward_with_intermediates(batch, attention_layers=[0, 2])
    # The plain path may leave out of the last block what no logit reads.
    torch.testing.assert_close(logits, vit(batch), rtol=1e-5, atol=1e-6)
    assert logits.shape == (2, 5)
    patches = s.grid_size**2
    tokens = patches + (s.pooling == "class_token")
    assert {name: tuple(tensor.shape) for name, tensor in named.items()} == {
        "patch_embeddings": (2, patches, s.dim),
        "embeddings": (2, tokens, s.dim),
        "attention_0": (2, 3, tokens, tokens),
        "block_0": (2, tokens, s.dim),
        "block_1": (2, tokens, s.dim),
        "attention_2": (2, 3, tokens, tokens),
        "block_2": (2, tokens, s.dim),
    }
    assert torch.equal(named["patch_embeddings"], vit.stem(batch))
    assert torch.equal(vit.blocks[1](named["block_0"]), named["block_1"])
    head_input = vit.norm(named["block_2"])
    pooled = head_input[:, 0] if s.pooling == "class_token" else head_input.mean(dim=1)
    torch.testing.assert_close(vit.head(pooled), logits, rtol=1e-5, atol=1e-6)


def test_attention_weights_give_back_the_attention_output() -> None:
    vit = randomised(model(qkv_bias=True))
    _, named = vit.forward_with_intermediates(images(vit), attention_layers=[1])
    weights, block = named["attention_1"], vit.blocks[1]
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 10))
    normed = block.attention_norm(named["block_0"])
    packed = block.attention.qkv(normed).view(2, 10, 3, 3, 8).permute(2, 0, 3, 1, 4)
    torch.testing.assert_close(weights, softmax_attention_weights(packed[0], packed[1]))
    attended = (weights @ packed[2]).transpose(1, 2).reshape(2, 10, 24)
    after = named["block_0"] + block.attention.output(attended)
    torch.testing.assert_close(
        after + block.mlp(block.mlp_norm(after)), named["block_1"], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("pooling", ["class_token", "mean"])
def test_linear_attention_weights_give_back_the_attention_output(pooling: str) -> None:
    vit = randomised(model(attention="linear", pooling=pooling))
    batch = images(vit)
    logits, named = vit.forward_with_intermediates(batch, attention_layers=[0, 1, 2])
    torch.testing.assert_close(logits, vit(batch), rtol=1e-5, atol=1e-5)
    tokens = 10 if pooling == "class_token" else 9
    for layer in range(3):
        weights = named[f"attention_{layer}"]
        assert weights.min() > 0
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, tokens))
    block = vit.blocks[1]
    value = block.attention.qkv(block.attention_norm(named["block_0"]))[..., 48:]
    heads = value.view(2, tokens, 3, 8).transpose(1, 2)
    attended = (named["attention_1"] @ heads).transpose(1, 2).reshape(2, tokens, 24)
    after = named["block_0"] + block.attention.output(attended)
    torch.testing.assert_close(
        after + block.mlp(block.mlp_norm(after)), named["block_1"], rtol=1e-5, atol=1e-5
    )
    # The same weights under the other kernel are another network.
    other = ViT(settings(pooling=pooling)).eval()
    other.load_state_dict(vit.state_dict())
    assert (other(batch) - logits).abs().max() > 1e-3


@pytest.mark.parametrize("kernel", ["softmax", "linear"])
@pytest.mark.parametrize("pooling", ["class_token", "mean"])
def test_logits_have_gradients_of_the_attention_asked_for(pooling: str, kernel: str) -> None:
    vit = randomised(model(attention=kernel, pooling=pooling))
    batch = images(vit)
    logits, named = vit.forward_with_intermediates(batch, attention_layers=[0, 1, 2])
    torch.testing.assert_close(logits, vit(batch), rtol=1e-5, atol=1e-5)
    layers = [named[f"attention_{layer}"] for layer in range(3)]
    first, second, last = torch.autograd.grad(logits[:, 1].sum(), layers)
    assert first.abs().amax((1, 2, 3)).min() > 0
    assert second.abs().amax((1, 2, 3)).min() > 0
    assert last[:, :, 0].abs().max() > 0
    # After the last layer nothing but the class token is read.
    assert (last[:, :, 1:].abs().max() == 0) == (pooling == "class_token")


def test_asking_for_no_attention_computes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    vit = model()
    monkeypatch.setattr(
        type(vit.blocks[0]), "forward_with_weights", lambda *_: pytest.fail("asked")
    )
    vit(images(vit))
    _, named = vit.forward_with_intermediates(images(vit))
    assert not any(name.startswith("attention") for name in named)


@pytest.mark.parametrize("layer", [3, -1])
def test_a_layer_that_is_not_there(layer: int) -> None:
    vit = model()
    with pytest.raises(IndexError, match=f"layer {layer} of a model with 3 layers"):
        vit.forward_with_intermediates(images(vit), attention_layers=[layer])


def test_fixed_positions_are_neither_trained_nor_saved() -> None:
    vit = model(positions="sine_cosine")
    assert "positions" not in dict(vit.named_parameters())
    assert "positions" not in vit.state_dict()
    assert torch.equal(vit.positions[:, 0], torch.zeros(1, 24))  # the class token has no place
    loaded = ViT(vit.settings).eval()
    loaded.load_state_dict(vit.state_dict())
    assert torch.equal(loaded(images(vit)), vit(images(vit)))


def test_mean_pooling_without_positions_ignores_the_order_of_patches() -> None:
    vit = model(pooling="mean", embedding_std=0.0)
    batch = images(vit)
    rolled = batch.roll((7, 14), dims=(2, 3))
    torch.testing.assert_close(vit(rolled), vit(batch), rtol=1e-4, atol=1e-5)
    assert (model(pooling="mean")(rolled) - model(pooling="mean")(batch)).abs().max() > 1e-3


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_parameter_learns(changes: dict[str, Any]) -> None:
    vit = model(dropout=0.1, **changes).train()
    vit(images(vit)).logsumexp(dim=1).sum().backward()
    silent = [
        name for name, p in vit.named_parameters() if p.grad is None or not p.grad.abs().max() > 0
    ]
    assert silent == []


def test_dropout_stands_in_every_place_and_only_in_training() -> None:
    vit = model(dropout=0.25)
    batch = images(vit)
    assert torch.equal(vit(batch), vit(batch))
    names = [name for name, part in vit.named_modules() if getattr(part, "p", 0.0) == 0.25]
    places = ["embedding_dropout"] + [
        f"blocks.{index}.{place}"
        for index in range(3)
        for place in ("attention.dropout", "mlp.2", "mlp.4")
    ]
    assert names == places
    vit.train()
    assert not torch.equal(vit(batch), vit(batch))


# --- settings


@pytest.mark.parametrize(
    ("changes", "problem", "remedy"),
    [
        ({"patch_size": 4}, "patch_size 4 does not divide image_size 21", "correct the settings"),
        ({"patch_size": 0}, "patch_size: Input should be greater than or equal to 1", "patch_size"),
        (
            {"image_size": 2048},
            "image_size: Input should be less than or equal to 1024",
            "image_size",
        ),
        ({"channels": 2}, "channels: Input should be 1 or 3, not 2", "channels"),
        ({"num_classes": 1}, "num_classes: Input should be greater than or equal to 2", "num_cl"),
        ({"dim": 2}, "dim: Input should be greater than or equal to 4, not 2", "dim"),
        ({"depth": 0}, "depth: Input should be greater", "depth"),
        ({"num_heads": 0}, "num_heads: Input should be greater", "num_heads"),
        ({"head_dim": 0}, "head_dim: Input should be greater", "head_dim"),
        ({"mlp_dim": 0}, "mlp_dim: Input should be greater", "mlp_dim"),
        ({"dim": 24.0}, "dim: Input should be a valid integer, not 24.0", "dim"),
        ({"dropout": 1.0}, "dropout: Input should be less than 1, not 1.0", "dropout"),
        ({"dropout": float("nan")}, "dropout: Input should be a finite number", "dropout"),
        ({"embedding_std": -1.0}, "embedding_std: Input should be greater", "embedding_std"),
        (
            {"pooling": "max"},
            "pooling: Input should be 'class_token' or 'mean', not 'max'",
            "pooling",
        ),
        ({"positions": "none"}, "positions: Input should be 'learned' or 'sine_cosine'", "posit"),
        ({"stem": "conv"}, "stem: Input should be 'linear' or 'convolutional'", "stem"),
        ({"attention": "fast"}, "attention: Input should be 'softmax' or 'linear'", "attention"),
        ({"dim": 26, "positions": "sine_cosine"}, "need a dim that 4 divides", "correct"),
        ({"stem": "convolutional"}, "patch_size that is a power of two", "correct"),
        ({"heads": 3}, "unknown key 'heads'", "'head_dim'|'num_heads'"),
        ({"qkv_bias": "maybe"}, "qkv_bias: Input should be a valid boolean", "qkv_bias"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_settings_are_named_with_a_remedy(
    changes: dict[str, Any], problem: str, remedy: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        settings(**changes)
    assert problem in caught.value.problem
    assert any(part in caught.value.remedy for part in remedy.split("|"))
    assert "\n" not in str(caught.value)


def test_a_recipe_checks_the_architecture_before_any_data_are_read() -> None:
    with pytest.raises(RecipeError, match="model: sine_cosine positions need a dim"):
        load_recipe("vision", None, ["model.positions=sine_cosine", "model.dim=30"])
    assert (
        ViTArchitecture().model_dump()
        == load_recipe("fashion-mnist", "reference", ["model.dropout=0.0"]).model.model_dump()
    )
