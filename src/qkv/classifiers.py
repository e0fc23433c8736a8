"""From a run folder to a classifier."""

from __future__ import annotations

from pathlib import Path

from qkv.devices import DeviceName, resolve_device
from qkv.errors import RunError
from qkv.runs import Run
from qkv.vision.classifier import VisionClassifier
from qkv.vision.preprocessing import Preprocessing
from qkv.vision.vit import ViT, ViTSettings


def load(run: str | Path | Run, *, device: DeviceName = "cpu") -> VisionClassifier:
    """The classifier of a run, with its kept weights.

    Raises:
        RunError: the folder is not a run, has no weights yet, or is damaged.
        DeviceError: the device is not there.
    """
    if not isinstance(run, Run):
        run = Run.open(run)
    config = run.config()
    where = f"{run.path / 'config.json'}"
    if config.get("task") != "vision":
        raise RunError(
            f"{where}: task is {config.get('task')!r}",
            remedy="load it with a version of qkv that knows this task",
        )
    try:
        names = [config["id2label"][str(number)] for number in range(len(config["id2label"]))]
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
    try:
        model.load_state_dict(run.weights())
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise RunError(
            f"{run.path}: weights and config.json disagree: {first}", remedy="restore the folder"
        ) from None
    return VisionClassifier(model, preprocessing, names, resolve_device(device))
