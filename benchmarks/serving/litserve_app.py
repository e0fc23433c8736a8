"""The second baseline: LitServe, which batches requests in a worker process.

Run as a module it serves a run folder: `python -m benchmarks.serving.litserve_app --help`.
"""

# No `from __future__ import annotations`: LitServe reads the annotation of `decode_request` as it
# is, and a string would not do.

from pathlib import Path
from typing import Annotated, Any

import litserve  # type: ignore[import-untyped]
import torch
from fastapi import Body
from torch import Tensor

from benchmarks.serving.baselines import Answer, TextPipeline, VisionPipeline, option_parser


class PipelineAPI(litserve.LitAPI):  # type: ignore[misc]
    """Classifies what `decode_request` of a subclass makes of a request.

    Args:
        folder: of the run.
        threads: of torch, in the worker.
        options: LitServe's own.
    """

    pipeline: type[VisionPipeline] | type[TextPipeline]

    def __init__(self, folder: Path, threads: int, **options: Any) -> None:
        super().__init__(**options)
        self._folder = folder
        self._threads = threads

    def setup(self, device: str) -> None:
        """Called in the worker."""
        del device
        torch.set_num_threads(self._threads)
        self._pipeline: Any = self.pipeline(self._folder)

    def predict(self, x: Any) -> Tensor:
        """Probabilities."""
        probabilities: Tensor = self._pipeline.probabilities(x)
        return probabilities

    def unbatch(self, output: Tensor) -> list[Tensor]:
        """Those of each input."""
        return list(output)

    def encode_response(self, output: Tensor) -> Answer:
        """The answer for one."""
        answer: Answer = self._pipeline.answer(output)
        return answer


class VisionAPI(PipelineAPI):
    """Classifies images."""

    pipeline = VisionPipeline

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/png")]) -> Tensor:
        """The pixels of one image."""
        pixels: Tensor = self._pipeline.decode(request)
        return pixels

    def batch(self, inputs: list[Tensor]) -> Tensor:
        """The pixels of several."""
        return torch.stack(inputs)


class TextAPI(PipelineAPI):
    """Classifies texts."""

    pipeline = TextPipeline

    def decode_request(self, request: dict[str, str]) -> str:
        """One text."""
        return request["inputs"]

    def batch(self, inputs: list[str]) -> list[str]:
        """Several, padded only when they are tokenised."""
        return inputs


def main() -> None:
    """Serve a run."""
    parser = option_parser()
    parser.add_argument("--max-batch-size", type=int, required=True)
    parser.add_argument("--batch-timeout", type=float, required=True, help="seconds")
    parser.add_argument("--fast-queue", action="store_true", help="ZeroMQ between the processes")
    parser.add_argument("--workers", type=int, default=1, help="processes that compute")
    options = parser.parse_args()
    api = (VisionAPI if options.task == "vision" else TextAPI)(
        options.run,
        options.threads,
        max_batch_size=options.max_batch_size,
        batch_timeout=options.batch_timeout,
        api_path="/predict",
    )
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=options.workers,
        fast_queue=options.fast_queue,
    )
    server.run(
        host="127.0.0.1",
        port=options.port,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":
    main()
