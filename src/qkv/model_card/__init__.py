"""The model card: what a run is, in words and with the hub's front matter."""

from __future__ import annotations

from qkv.model_card.front_matter import front_matter
from qkv.model_card.text import text_body
from qkv.model_card.vision import vision_body
from qkv.runs import Run

__all__ = ["model_card"]


def model_card(run: Run) -> str:
    """Markdown with YAML front matter, from run.json and config.json alone."""
    record, config = run.record(), run.config()
    if config.get("task") == "text":
        encoder = config["encoder"]["identity"]["name"]
        head = front_matter(record, "text-classification", config["model"]["head"]["kind"], encoder)
        figures = sorted(path.stem for path in run.figures_folder.glob("*.png"))
        return "\n".join([head, text_body(record, config, figures)])
    head = front_matter(record, "image-classification", "vit")
    return "\n".join([head, vision_body(record, config)])
