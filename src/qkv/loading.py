"""From a run folder to a classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from qkv.devices import DeviceName, resolve_device
from qkv.errors import RunError
from qkv.predictions import Classifier
from qkv.runs import Run
from qkv.text.classifier import TextClassifier
from qkv.text.encoder import EncoderSettings
from qkv.text.heads import HeadSettings, build_head
from qkv.text.model import Reading, TextModel
from qkv.text.ngrams import NGramModel, NGramSettings
from qkv.text.stacking import Stack
from qkv.vision.classifier import Preprocessing, VisionClassifier
from qkv.vision.vit import ViT, ViTSettings


def class_names(config: dict[str, Any], where: str) -> list[str]:
    """The name of each label, in label order.

    Raises:
        RunError: the config has none.
    """
    try:
        return [config["id2label"][str(number)] for number in range(len(config["id2label"]))]
    except (KeyError, TypeError) as error:
        raise RunError(f"{where} lacks {error}", remedy="restore the file") from None


def temperature(config: dict[str, Any], where: str) -> float:
    """What logits are divided by; 1 where none was fitted.

    Raises:
        RunError: it is no positive number.
    """
    value = config.get("temperature", 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise RunError(f"{where}: temperature is {value!r}", remedy="restore the file")
    return float(value)


def load_weights(run: Run, model: nn.Module) -> None:
    """Give a model the run's kept weights.

    Raises:
        RunError: there are none yet, or they belong to another model.
    """
    try:
        model.load_state_dict(run.weights())
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise RunError(
            f"{run.path}: weights and config.json disagree: {first}", remedy="restore the folder"
        ) from None


NGRAM_TENSORS = "ngrams.safetensors"


def load_text(run: Run, config: dict[str, Any], device: torch.device) -> TextClassifier:
    """The classifier of a text run; its encoder is loaded when it is first needed.

    Raises:
        RunError: the folder has no weights yet, or is damaged.
    """
    where = f"{run.path / 'config.json'}"
    names = class_names(config, where)
    try:
        settings = EncoderSettings.parse(config["encoder"]["settings"], where=where)
        identity = config["encoder"]["identity"]
        if identity["revision"] is not None:  # the hub's model may have moved on since
            settings = settings.model_copy(update={"revision": identity["revision"]})
        reading = Reading(
            settings,
            config["model"]["unfreeze_layers"],
            config["states"],
            device,
            expected=identity,
        )
        head = TypeAdapter(HeadSettings).validate_python(config["model"]["head"])
        model = TextModel(build_head(head, config["model"]["dim"], len(names)), reading.top())
        stack = config.get("stack")
        ngrams = NGramSettings.parse(config["ngrams"], where=where) if stack is not None else None
    except (KeyError, TypeError, ValidationError) as error:
        raise RunError(
            f"{where} lacks or spoils {str(error).splitlines()[0]}", remedy="restore the file"
        ) from None
    load_weights(run, model)
    return TextClassifier(
        model,
        reading,
        names,
        device,
        temperature=temperature(config, where),
        ngrams=None
        if ngrams is None
        else NGramModel.from_tensors(ngrams, len(names), run.tensors(NGRAM_TENSORS)),
        stack=None if stack is None else Stack.parse(stack, where=where),
    )


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


LOADERS: dict[str, Callable[[Run, dict[str, Any], torch.device], Classifier[Any, Any]]] = {
    "vision": load_vision,
    "text": load_text,
}


def load(run: str | Path | Run, *, device: DeviceName = "cpu") -> Classifier[Any, Any]:
    """The classifier of a run, with its kept weights.

    Raises:
        RunError: the folder is not a run, has no weights yet, or is damaged.
        DeviceError: the device is not there.
    """
    if not isinstance(run, Run):
        run = Run.open(run)
    config = run.config()
    task = config.get("task")
    if task not in LOADERS:
        raise RunError(
            f"{run.path / 'config.json'}: task is {task!r}",
            remedy="load it with a version of qkv that knows this task",
        )
    return LOADERS[task](run, config, resolve_device(device))
