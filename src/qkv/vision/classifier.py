"""A trained ViT that classifies image files, PIL images and arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import ExifTags, Image, ImageOps
from pydantic import Field
from torch import Tensor, nn

from qkv.data.dataset import ImageSplit, UInt8Array
from qkv.data.image_decode import UnsupportedPixelsError, decode, resize_and_crop, to_pixels
from qkv.errors import ImageError, RunError
from qkv.predictions import Classifier, class_names, load_weights, temperature
from qkv.runs import Run
from qkv.settings import Settings
from qkv.vision.vit import ViT, ViTSettings


class Preprocessing(Settings):
    """How pixels become model input; saved with the model, so that predictions can be repeated."""

    image_size: int = Field(ge=1, le=1024)
    """Side of the square input, in pixels; files are resized to it and centre-cropped."""
    channels: Literal[1, 3]
    """1 grey, 3 colour."""
    mean: float = Field(default=0.5, ge=0.0, le=1.0)
    """Subtracted from pixels scaled to [0, 1]."""
    std: float = Field(default=0.5, gt=0.0, le=1.0)
    """Divides after the mean is subtracted."""

    def normalise(
        self, images: UInt8[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """(x/255 − mean)/std in float32."""
        scale = 1.0 / (255.0 * self.std)
        return images.to(torch.float32).mul_(scale).sub_(self.mean / self.std)


ImageInput = str | os.PathLike[str] | bytes | Image.Image | UInt8Array


class VisionClassifier(Classifier[ImageInput, UInt8Array]):
    """A ViT with its preprocessing and its class names.

    An input is a path, encoded bytes, a PIL image, or a uint8 array (height, width) or
    (height, width, 3).

    Args:
        model: the trained model.
        preprocessing: how pixels become input.
        class_names: the name of each label, in label order.
        device: where to compute.
        temperature: what logits are divided by.
    """

    task = "vision"
    model: ViT

    def __init__(
        self,
        model: ViT,
        preprocessing: Preprocessing,
        class_names: Sequence[str],
        device: torch.device,
        *,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(model, class_names, device, temperature=temperature)
        # Convolutions are faster where the channels of a pixel lie together.
        nn.utils.convert_conv2d_weight_memory_format(self.model, torch.channels_last)
        self.preprocessing = preprocessing

    def name_of(self, source: ImageInput, index: int) -> tuple[str, str]:
        """Its path, or `image N` from 0."""
        path = os.fspath(source) if isinstance(source, str | os.PathLike) else f"image {index}"
        return path, path

    def read(self, source: ImageInput, *, name: str | None = None) -> UInt8Array:
        """What the model sees of an input: uint8 (channels, image_size, image_size).

        Args:
            source: as in `predict`.
            name: what an error calls it; its path, or `image 0`, when None.

        Raises:
            ImageError: it cannot be read.
        """
        name = self.name_of(source, 0)[1] if name is None else name
        channels = self.preprocessing.channels
        try:
            if isinstance(source, np.ndarray):
                source = _picture(source, name)
            if isinstance(source, Image.Image):
                pixels = to_pixels(_upright(source), channels)
            else:
                pixels = decode(source, channels=channels, name=name)
        except UnsupportedPixelsError as error:
            raise ImageError(
                f"{name} {error}", remedy="save it with 8 or 16 bits a channel"
            ) from None
        except (OSError, SyntaxError) as error:  # a picture opened by the caller, not yet read
            raise ImageError(
                f"{name} is damaged or truncated ({error})", remedy="replace it"
            ) from None
        return resize_and_crop(pixels, self.preprocessing.image_size)

    @torch.inference_mode()
    def logits(self, examples: Sequence[UInt8Array] | UInt8Array) -> Tensor:
        """What probabilities are the softmax of; the temperature is applied.

        Args:
            examples: uint8 (images, channels, image_size, image_size), or a list of images as
                `read` gives them.

        Returns:
            float32 (images, classes), on the CPU.
        """
        images = torch.from_numpy(np.asarray(examples)).to(self.device)
        logits: Tensor = self.model(self.preprocessing.normalise(images))
        return logits.float().cpu() / self.temperature

    def predict_logits(self, split: ImageSplit, *, batch_size: int = 1000) -> Tensor:
        """`logits` of every image of a split, `batch_size` at a time."""
        logits = predict_logits(self.model, split, self.preprocessing, batch_size, self.device)
        return logits / self.temperature


@torch.inference_mode()
def predict_logits(
    model: nn.Module,
    split: ImageSplit,
    preprocessing: Preprocessing,
    batch_size: int,
    device: torch.device,
) -> Tensor:
    """Logits of every image of a split by a model put in evaluation mode.

    Returns:
        float32 (examples, classes), on the CPU.
    """
    model.eval()
    parts = []
    for start in range(0, len(split), batch_size):
        indices = np.arange(start, min(start + batch_size, len(split)))
        images = torch.from_numpy(split.take(indices)).to(device)
        parts.append(model(preprocessing.normalise(images)).float().cpu())
    return torch.cat(parts)


def _upright(picture: Image.Image) -> Image.Image:
    """The picture with its pixels read and turned as its EXIF says, as a file's are."""
    picture.load()
    if picture.getexif().get(ExifTags.Base.Orientation, 1) == 1:
        return picture
    return ImageOps.exif_transpose(picture)


def _picture(array: UInt8Array, name: str) -> Image.Image:
    grey, colour = array.ndim == 2, array.ndim == 3 and array.shape[2] == 3
    if array.dtype != np.uint8 or not (grey or colour) or array.size == 0:
        raise ImageError(
            f"{name} is an array of {array.dtype} {array.shape}",
            remedy="pass uint8 of (height, width) or (height, width, 3)",
        )
    return Image.fromarray(array)


def load_vision(run: Run, config: dict[str, Any], device: torch.device) -> VisionClassifier:
    """The classifier of a vision run.

    Raises:
        RunError: the folder has no weights yet, or is damaged.
    """
    where = f"{run.path / 'config.json'}"
    names = class_names(config, where)
    try:
        settings = ViTSettings.parse(config["model"], where=where)
        preprocessing = Preprocessing.parse(config["preprocessing"], where=where)
    except (KeyError, TypeError) as error:
        raise RunError(f"{where} lacks {error}", remedy="restore the file") from None
    read, given = (
        (settings.channels, settings.image_size, settings.num_classes),
        (preprocessing.channels, preprocessing.image_size, len(names)),
    )
    if read != given:
        raise RunError(
            f"{where}: the model reads and tells apart {read} (channels, pixels, classes), "
            f"preprocessing and labels give {given}",
            remedy="restore the file",
        )
    model = ViT(settings)
    load_weights(run, model)
    return VisionClassifier(
        model, preprocessing, names, device, temperature=temperature(config, where)
    )
