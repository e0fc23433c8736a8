"""Maps of attention: the right layer, head, row and columns, for both kernels and poolings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_vits import GRID, KINDS, pixels_for, tiny_vit

from qkv.attention import linear_attention_weights, softmax_attention_weights
from qkv.errors import DataError
from qkv.explanation.vision_attention import attention_map, attention_weights


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("layer", [0, 2])
def test_weights_are_those_of_the_layer(layer: int, kind: dict[str, Any]) -> None:
    classifier = tiny_vit(**kind)
    image = pixels_for(classifier)
    found = attention_weights(classifier, image, layer)
    tokens = 9 + (classifier.model.class_token is not None)
    assert found.dtype == np.float32
    assert found.shape == (2, tokens, tokens)
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-5)
    # Independently: the layer's input from the blocks before it, then the kernel's own weights.
    model = classifier.model
    with torch.no_grad():
        x = model._embed(model.stem((torch.from_numpy(image)[None] / 255 - 0.5) / 0.5))
        for block in model.blocks[:layer]:
            x = block(x)
        block = model.blocks[layer]
        packed = block.attention.qkv(block.attention_norm(x)).view(tokens, 3, 2, 4)
        query, key, _ = packed.permute(1, 2, 0, 3)
        linear = kind.get("attention") == "linear"
        weights = (linear_attention_weights if linear else softmax_attention_weights)(query, key)
    np.testing.assert_allclose(found, weights, atol=1e-5)


@pytest.mark.parametrize("head", [None, 0, 1])
@pytest.mark.parametrize("query", [None, 0, 5])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_map_is_a_row_of_them(kind: dict[str, Any], query: int | None, head: int | None) -> None:
    classifier = tiny_vit(**kind)
    image = pixels_for(classifier)
    weights = attention_weights(classifier, image, 1)
    matrix = weights.mean(axis=0) if head is None else weights[head]
    if classifier.model.class_token is not None:
        row = matrix[0 if query is None else query + 1][1:]
    else:
        row = matrix.mean(axis=0) if query is None else matrix[query]
    found = attention_map(classifier, image, 1, head, query)
    assert found.dtype == np.float32
    assert found.shape == (GRID, GRID)
    np.testing.assert_allclose(found.reshape(-1), row, atol=1e-6)
    token = classifier.model.class_token is not None
    to_it = matrix[0 if query is None else query + 1][0] if token else 0.0
    assert found.sum() + to_it == pytest.approx(1, abs=1e-5)


def test_rows_and_columns_are_those_of_the_image() -> None:
    """Without positions, equal patches draw equal weights: the one that differs stands out."""
    classifier = tiny_vit(pooling="mean", embedding_std=0.0)
    image = np.full((3, 12, 12), 128, dtype=np.uint8)
    np.testing.assert_allclose(attention_map(classifier, image, 0), 1 / 9, rtol=1e-5)
    image[0, 4:8, 8:] = 255
    found = attention_map(classifier, image, 0)
    others = np.delete(found.reshape(-1), 5)
    np.testing.assert_allclose(others, others[0], rtol=1e-5)
    assert abs(np.log(found[1, 2] / others[0])) > 0.01


@pytest.mark.parametrize(
    ("asked", "problem", "remedy"),
    [
        ({"layer": 3}, "no layer 3", "0 to 2"),
        ({"layer": -1}, "no layer -1", "0 to 2"),
        ({"layer": 0, "head": 2}, "no head 2", "0 to 1"),
        ({"layer": 0, "head": -1}, "no head -1", "0 to 1"),
        ({"layer": 0, "query": 9}, "no patch 9", "0 to 8"),
        ({"layer": 0, "query": -1}, "no patch -1", "0 to 8"),
    ],
)
def test_what_is_not_there(asked: dict[str, int], problem: str, remedy: str) -> None:
    classifier = tiny_vit()
    with pytest.raises(DataError) as caught:
        attention_map(classifier, pixels_for(classifier), **asked)
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy
