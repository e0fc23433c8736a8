"""The card of a vision run."""

from __future__ import annotations

from typing import Any

from qkv.model_card.parts import (
    data_section,
    figure,
    test_section,
    training_section,
    use_section,
)


def vision_body(record: dict[str, Any], config: dict[str, Any]) -> str:
    """All below the front matter."""
    data, model = record["data"], config["model"]
    lines = [
        f"# Vision Transformer on {data['name']}",
        "",
        record["recipe"]["description"],
        "",
        "## Model",
        "",
        f"{record['parameters']:,} parameters: {model['depth']} blocks of width {model['dim']}, "
        f"{model['num_heads']} heads of {model['head_dim']}, patches of {model['patch_size']}×"
        f"{model['patch_size']} on {model['channels']}×{model['image_size']}×"
        f"{model['image_size']} pixels.",
        "",
        f"Classes: {', '.join(data['class_names'])}.",
        "",
        *data_section(record, "image"),
        *training_section(record),
    ]
    if "test" in record:
        lines += [
            *test_section(record["test"], "image"),
            *figure("Test images and predictions", "predictions"),
            *figure("Confusion matrix", "confusion"),
        ]
    return "\n".join([*lines, *use_section()])
