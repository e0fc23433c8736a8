"""Random changes to whole batches of images, drawn from torch's default generator."""

from __future__ import annotations

import torch
from jaxtyping import UInt8
from pydantic import Field
from torch import Tensor

from qkv.settings import Settings

Images = UInt8[Tensor, "batch channels height width"]


class AugmentSettings(Settings):
    """Which random changes each training image undergoes."""

    horizontal_flip: bool = False
    """Mirror an image with probability one half."""
    shift_pixels: int = Field(default=0, ge=0, le=256)
    """Move an image by up to this many pixels each way, filling with black."""
    erase_probability: float = Field(default=0.0, ge=0.0, le=1.0)
    """Probability that a rectangle of an image is blackened."""
    erase_max_fraction: float = Field(default=0.3, gt=0.0, le=1.0)
    """Largest side of that rectangle, as a fraction of the image's side."""


def augment(images: Images, settings: AugmentSettings) -> Images:
    """A changed copy of `images`; each image draws its own flip, shift and rectangle."""
    if settings.horizontal_flip:
        images = random_flip(images)
    if settings.shift_pixels:
        images = random_shift(images, settings.shift_pixels)
    if settings.erase_probability:
        images = random_erase(images, settings.erase_probability, settings.erase_max_fraction)
    return images


def random_flip(images: Images) -> Images:
    """Mirror each image left to right with probability one half."""
    flipped = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(flipped, images.flip(-1), images)


def random_shift(images: Images, pixels: int) -> Images:
    """Move each image by a whole number of pixels in [−pixels, pixels] along each axis.

    The same as padding with black and cropping at a random place.
    """
    batch, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (pixels, pixels, pixels, pixels))
    offsets = torch.randint(2 * pixels + 1, (2, batch, 1), device=images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    item = torch.arange(batch, device=images.device)[:, None, None]
    # Advanced indices around the channel slice put the channels last.
    return padded[item, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def random_erase(images: Images, probability: float, max_fraction: float) -> Images:
    """Blacken one rectangle in each image with the given probability (Zhong et al. 2020).

    The rectangle's sides are uniform between one pixel and `max_fraction` of the image's, and its
    place is uniform among those where it fits.
    """
    batch, _, height, width = images.shape
    device = images.device
    hit = torch.rand(batch, 1, device=device) < probability
    inside = [_random_interval(batch, length, max_fraction, device) for length in (height, width)]
    rectangle = (hit & inside[0])[:, :, None] & inside[1][:, None, :]
    return images.masked_fill(rectangle[:, None], 0)


def _random_interval(batch: int, length: int, fraction: float, device: torch.device) -> Tensor:
    """Boolean (batch, length): one random run of True in each row."""
    longest = max(1, int(length * fraction))
    span = torch.randint(1, longest + 1, (batch, 1), device=device)
    start = (torch.rand(batch, 1, device=device) * (length - span + 1)).long()
    place = torch.arange(length, device=device)
    return (place >= start) & (place < start + span)
