"""What a class loses with each part of an input alone."""

from __future__ import annotations

import numpy as np

from qkv.inspection.masked import FloatArray, MaskedInput


def occlusion(masked: MaskedInput, label: int) -> FloatArray:
    """p(class | all parts) − p(class | all parts but one), for every part.

    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2. It
    costs one answer a part. A part that another one can stand in for seems to matter little:
    `shapley_values` sees both.

    Args:
        masked: the input in parts.
        label: the explained class.

    Returns:
        float64 (parts,), positive where the part speaks for the class.
    """
    parts = masked.parts
    keep = np.concatenate([np.ones((1, parts), dtype=bool), ~np.eye(parts, dtype=bool)])
    answers = masked.probabilities(keep)[:, label]
    lost: FloatArray = answers[0] - answers[1:]
    return lost
