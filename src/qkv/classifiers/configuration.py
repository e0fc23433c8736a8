"""What the configs of all runs have in common."""

from __future__ import annotations

from typing import Any

from torch import nn

from qkv.errors import RunError
from qkv.runs import Run


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
