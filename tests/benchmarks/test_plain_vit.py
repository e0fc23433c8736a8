"""The baseline must be the same function as qkv's reference model, or no time is comparable."""

import ast
import inspect

import pytest
import torch
import torch.nn.functional as F

from benchmarks import plain_vit
from benchmarks.plain_vit import PlainViT
from benchmarks.vit import plain_weights
from qkv.training.recipe import load_recipe
from qkv.vision.vit import ViT, ViTSettings


@pytest.fixture
def pair():
    torch.manual_seed(3)
    recipe = load_recipe("fashion-mnist", "reference")
    data = {"image_size": 28, "channels": 1, "num_classes": 10}
    ours = ViT(ViTSettings.parse(recipe.model.model_dump() | data, where="model"))
    plain = PlainViT()
    plain.load_state_dict(plain_weights(ours))
    return plain.eval(), ours.eval()


def test_parameter_count_is_the_printed_one():
    assert sum(p.numel() for p in PlainViT().parameters()) == 598_794


def test_log_probabilities_and_every_gradient_agree_with_qkv(pair):
    plain, ours = pair
    images, labels = torch.randn(7, 1, 28, 28), torch.arange(7)
    theirs_out, ours_out = plain(images), F.log_softmax(ours(images), dim=1)
    torch.testing.assert_close(theirs_out, ours_out, rtol=1e-5, atol=1e-5)

    F.nll_loss(theirs_out, labels).backward()
    F.nll_loss(ours_out, labels).backward()
    gradients = {name: p.grad for name, p in plain.named_parameters()}
    expected = plain_weights_of_gradients(ours)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5, msg=name)


def plain_weights_of_gradients(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.grad)
    return plain_weights(model)


def test_dropout_is_in_all_its_places():
    dropouts = [m for m in PlainViT().modules() if isinstance(m, torch.nn.Dropout)]
    assert [m.p for m in dropouts] == [0.1] * (1 + 6 * 3)


def test_position_and_class_token_start_from_the_standard_normal():
    torch.manual_seed(0)
    model = PlainViT()
    assert model.positions.shape == (1, 50, 64)
    assert 0.95 < model.positions.std() < 1.05
    assert 0.7 < model.class_token.std() < 1.3


def test_it_imports_nothing_of_qkv_but_the_shape_of_a_data_set():
    tree = ast.parse(inspect.getsource(plain_vit))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name.startswith("qkv")} == {
        "qkv.data.dataset",
    }
