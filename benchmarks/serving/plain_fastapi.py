"""The first baseline: a plain FastAPI app, one input at a time in the threadpool.

Run as a module it serves a run folder: `python -m benchmarks.serving.plain_fastapi --help`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Annotated

import torch
import uvicorn
from fastapi import Body, FastAPI
from pydantic import BaseModel

from benchmarks.serving.pipelines import Answer, TextPipeline, VisionPipeline


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


def main() -> None:
    """Serve a run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--task", choices=("vision", "text"), required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True, help="of torch, within an operation")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    app = (vision_app if options.task == "vision" else text_app)(options.run)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
