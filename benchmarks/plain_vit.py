"""The baseline: the Vision Transformer of the course in plain torch, and its training.

Explicit softmax attention, standard modules, nothing fused or compiled, and nothing of qkv's model:
what one writes straight from the description. It is fed from memory, already normalised, so no
loader holds it back.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from qkv.data.dataset import ImageDataset, ImageSplit, IntArray

IMAGE_SIZE, PATCH_SIZE, CLASSES = 28, 4, 10
DIM, DEPTH, HEADS, HEAD_DIM, HIDDEN_DIM = 64, 6, 4, 64, 256
DROPOUT = 0.1

EPOCHS, BATCH_SIZE, TEST_BATCH_SIZE = 5, 100, 1000
LEARNING_RATE = 0.002
SEED = 42


class PlainAttention(nn.Module):
    """Multi-head softmax attention with its weights written out."""

    def __init__(self) -> None:
        super().__init__()
        self.project_in = nn.Linear(DIM, 3 * HEADS * HEAD_DIM, bias=False)
        self.project_out = nn.Linear(HEADS * HEAD_DIM, DIM)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (batch, tokens, dim) to the same shape."""
        batch, tokens, _ = x.shape
        query, key, value = (
            part.reshape(batch, tokens, HEADS, HEAD_DIM).transpose(1, 2)
            for part in self.project_in(x).chunk(3, dim=-1)
        )
        scores = query @ key.transpose(-2, -1) / HEAD_DIM**0.5
        mixed = scores.softmax(dim=-1) @ value
        joined = mixed.transpose(1, 2).reshape(batch, tokens, HEADS * HEAD_DIM)
        output: Tensor = self.dropout(self.project_out(joined))
        return output


class PlainBlock(nn.Module):
    """Pre-norm attention and MLP, each with a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(DIM)
        self.attention = PlainAttention()
        self.norm2 = nn.LayerNorm(DIM)
        self.mlp = nn.Sequential(
            nn.Linear(DIM, HIDDEN_DIM),
            nn.GELU(),
            nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN_DIM, DIM),
            nn.Dropout(DROPOUT),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (batch, tokens, dim) to the same shape."""
        x = x + self.attention(self.norm1(x))
        output: Tensor = x + self.mlp(self.norm2(x))
        return output


class PlainViT(nn.Module):
    """The course's model: 28×28 grey images to ten log-probabilities; 598,794 parameters."""

    def __init__(self) -> None:
        super().__init__()
        patches = (IMAGE_SIZE // PATCH_SIZE) ** 2
        self.embed = nn.Linear(PATCH_SIZE**2, DIM)
        self.class_token = nn.Parameter(torch.randn(1, 1, DIM))
        self.positions = nn.Parameter(torch.randn(1, patches + 1, DIM))
        self.dropout = nn.Dropout(DROPOUT)
        self.blocks = nn.Sequential(*(PlainBlock() for _ in range(DEPTH)))
        self.head = nn.Sequential(nn.LayerNorm(DIM), nn.Linear(DIM, CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Log-probabilities (batch, 10) of normalised images (batch, 1, 28, 28)."""
        batch = len(images)
        grid = IMAGE_SIZE // PATCH_SIZE
        patches = images.reshape(batch, grid, PATCH_SIZE, grid, PATCH_SIZE).transpose(2, 3)
        x = self.embed(patches.reshape(batch, grid * grid, PATCH_SIZE**2))
        x = torch.cat([self.class_token.expand(batch, -1, -1), x], dim=1)
        x = self.dropout(x + self.positions)
        x = self.blocks(x)
        return functional.log_softmax(self.head(x[:, 0]), dim=-1)


class PlainTraining:
    """The course's training: Adam at its defaults but the step size, shuffled batches of 100.

    Args:
        dataset: Fashion-MNIST, or images like it.
        device: where to compute.
        epochs: passes over the training split.
    """

    def __init__(self, dataset: ImageDataset, device: torch.device, epochs: int = EPOCHS) -> None:
        assert dataset.test is not None
        torch.manual_seed(SEED)
        self.epochs = epochs
        self.model = PlainViT().to(device)
        self._optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)
        self._shuffle = np.random.default_rng(SEED)
        self._images, self._labels = _normalised(dataset.train, device)
        self._test_images, self._test_labels = _normalised(dataset.test, device)
        self._device = device

    def epoch_batches(self, epoch: int) -> list[IntArray]:
        """Index batches of the next epoch, newly shuffled; `epoch` only counts."""
        del epoch
        order = self._shuffle.permutation(len(self._labels))
        return [order[start : start + BATCH_SIZE] for start in range(0, len(order), BATCH_SIZE)]

    def loss(self, indices: IntArray) -> Tensor:
        """Mean negative log likelihood of the images at `indices`."""
        chosen = torch.from_numpy(indices).to(self._device)
        return functional.nll_loss(self.model(self._images[chosen]), self._labels[chosen])

    def step(self, indices: IntArray) -> float:
        """One step of Adam on the images at `indices`; returns the loss."""
        self.model.train()
        self._optimizer.zero_grad()
        loss = self.loss(indices)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def test_accuracy(self) -> float:
        """Share of the test split that is classified correctly."""
        self.model.eval()
        correct = 0
        batches = zip(
            torch.split(self._test_images, TEST_BATCH_SIZE),
            torch.split(self._test_labels, TEST_BATCH_SIZE),
            strict=True,
        )
        for images, labels in batches:
            correct += int((self.model(images).argmax(dim=1) == labels).sum())
        return correct / len(self._test_labels)


def _normalised(split: ImageSplit, device: torch.device) -> tuple[Tensor, Tensor]:
    """All images of a split as (x/255 − 0.5)/0.5 in float32, and their labels."""
    pixels = torch.from_numpy(split.take(np.arange(len(split)))).to(device)
    return (pixels.float() / 255 - 0.5) / 0.5, torch.from_numpy(split.labels).to(device)
