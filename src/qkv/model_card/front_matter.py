"""The YAML at the top of a model card, as the hub reads it."""

from __future__ import annotations

import json
from typing import Any


def front_matter(record: dict[str, Any], task: str, tag: str, base_model: str | None = None) -> str:
    """The front matter of a run.

    Args:
        record: run.json.
        task: what the hub calls it, such as `image-classification`.
        tag: the kind of model.
        base_model: the model it is built on; one that is no hub name,
            which has an owner before it, is left out.
    """
    lines = ["---", "library_name: qkv", f"pipeline_tag: {task}", "tags:", f"- {tag}"]
    if base_model is not None and "/" in base_model:
        lines.append(f"base_model: {json.dumps(base_model)}")
    name = json.dumps(record["data"]["name"])
    if "test" in record:
        lines += [
            "model-index:",
            f"- name: {name}",
            "  results:",
            "  - task:",
            f"      type: {task}",
            "    dataset:",
            f"      name: {name}",
            f"      type: {name}",
            "    metrics:",
            "    - type: accuracy",
            f"      value: {record['test']['accuracy']:.4f}",
        ]
    return "\n".join([*lines, "---", ""])
