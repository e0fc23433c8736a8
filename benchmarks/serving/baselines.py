"""The baselines' models, and the first baseline: a plain FastAPI app, one input at a time.

The networks are the very modules that qkv uses, and the encoder that of `transformers` in qkv's
precision. So what differs is how requests become batches, and what happens around them.

Run as a module it serves a run folder: `python -m benchmarks.serving.baselines --help`.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import uvicorn
from fastapi import Body, FastAPI
from PIL import Image
from pydantic import BaseModel
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.plain_text import MAX_TOKENS, from_pretrained
from qkv.devices import resolve_precision
from qkv.text.encoder import EncoderSettings, locate_encoder
from qkv.text.heads import AttentionHeadSettings, build_head
from qkv.vision.vit import ViT, ViTSettings

Answer = list[dict[str, str | float]]


class Pipeline:
    """What a run's config says, and how an answer is written.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
        names = self.config["id2label"]
        self.names = [names[str(number)] for number in range(len(names))]

    def answer(self, probabilities: Tensor) -> Answer:
        """The labels of one image or text with their scores, the highest first."""
        scored = sorted(zip(probabilities.tolist(), self.names, strict=True), reverse=True)
        return [{"label": name, "score": score} for score, name in scored]


class VisionPipeline(Pipeline):
    """A vision run by Pillow and torch."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        config = self.config
        self._size = int(config["preprocessing"]["image_size"])
        self.model = ViT(ViTSettings.parse(config["model"], where=str(folder))).eval()
        self.model.load_state_dict(load_file(folder / "model.safetensors"))

    def decode(self, content: bytes) -> Tensor:
        """A file's pixels as (x/255 − 0.5)/0.5, float32 (1, size, size)."""
        image = Image.open(io.BytesIO(content)).convert("L")
        if image.size != (self._size, self._size):
            image = image.resize((self._size, self._size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(image, dtype=np.float32))
        return ((pixels / 255 - 0.5) / 0.5)[None]

    @torch.inference_mode()
    def logits(self, pixels: Tensor) -> Tensor:
        """Logits (images, classes) of pixels (images, 1, size, size)."""
        logits: Tensor = self.model(pixels)
        return logits

    def probabilities(self, pixels: Tensor) -> Tensor:
        """Probabilities (images, classes) of pixels (images, 1, size, size)."""
        return self.logits(pixels).softmax(dim=1)


class TextPipeline(Pipeline):
    """A text run with an attention head by `transformers` and torch.

    Raises:
        MissingExtraError: `transformers` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        config = self.config
        settings = EncoderSettings.parse(config["encoder"]["settings"], where=str(folder))
        self.dtype = resolve_precision(settings.precision, torch.device("cpu"))
        self._tokenizer, self._encoder = from_pretrained(
            locate_encoder(settings.name).folder, self.dtype
        )
        head = AttentionHeadSettings.parse(config["model"]["head"], where=str(folder))
        self._head = build_head(head, config["model"]["dim"], len(self.names)).eval()
        weights = load_file(folder / "model.safetensors")
        self._head.load_state_dict(
            {name.removeprefix("head."): tensor for name, tensor in weights.items()}
        )

    @torch.inference_mode()
    def logits(self, texts: Sequence[str]) -> Tensor:
        """Logits (texts, classes), float32, of texts padded to the longest."""
        batch = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        states = self._encoder(**batch).last_hidden_state
        logits: Tensor = self._head(states.float(), batch["attention_mask"].bool())
        return logits

    def probabilities(self, texts: Sequence[str]) -> Tensor:
        """Probabilities (texts, classes)."""
        return self.logits(texts).softmax(dim=1)


class TextRequest(BaseModel):
    """One text."""

    inputs: str


def vision_app(folder: Path) -> FastAPI:
    """An app that classifies an image a request, sent as the bytes of its file."""
    pipeline = VisionPipeline(folder)
    app = _app()

    @app.post("/predict", response_model=None)
    def predict(body: Annotated[bytes, Body(media_type="image/png")]) -> Answer:
        pixels = pipeline.decode(body)
        return pipeline.answer(pipeline.probabilities(pixels[None])[0])

    return app


def text_app(folder: Path) -> FastAPI:
    """An app that classifies a text a request."""
    pipeline = TextPipeline(folder)
    app = _app()

    @app.post("/predict", response_model=None)
    def predict(request: TextRequest) -> Answer:
        return pipeline.answer(pipeline.probabilities([request.inputs])[0])

    return app


def _app() -> FastAPI:
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def option_parser() -> argparse.ArgumentParser:
    """The options of both baselines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--task", choices=("vision", "text"), required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True, help="of torch, within an operation")
    return parser


def main() -> None:
    """Serve a run."""
    options = option_parser().parse_args()
    torch.set_num_threads(options.threads)
    app = (vision_app if options.task == "vision" else text_app)(options.run)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
