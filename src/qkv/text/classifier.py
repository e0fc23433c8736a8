"""A trained text model that answers for texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from qkv.data.dataset import TextSplit
from qkv.errors import DataError, RunError
from qkv.predictions import Classifier, class_names, load_weights, temperature
from qkv.runs import Run
from qkv.text.encoder import EncoderSettings
from qkv.text.heads import HeadSettings, build_head
from qkv.text.model import Reading, TextModel, predict_inputs
from qkv.text.ngrams import NGramModel, NGramSettings
from qkv.text.stacking import Stack

HEAD_BATCH_TOKENS = 16_384


class TextClassifier(Classifier[str, str]):
    """A text model with what it reads, its class names, and how its answers are weighed.

    Args:
        model: the trained model.
        reading: from texts to what the model reads.
        class_names: the name of each label, in label order.
        device: where to compute.
        temperature: what the model's logits are divided by.
        ngrams: the bag-of-n-grams model beside it, if both answer together.
        stack: how both are weighed.
    """

    task = "text"
    model: TextModel

    def __init__(
        self,
        model: TextModel,
        reading: Reading,
        class_names: Sequence[str],
        device: torch.device,
        *,
        temperature: float = 1.0,
        ngrams: NGramModel | None = None,
        stack: Stack | None = None,
    ) -> None:
        super().__init__(model, class_names, device, temperature=temperature)
        self.reading = reading
        self.ngrams = ngrams
        self.stack = stack

    def prepare(self) -> None:
        """Load the encoder."""
        _ = self.reading.encoder

    def name_of(self, source: str, index: int) -> tuple[str, str]:
        """The text itself; in an error `text N`, from 1."""
        return source, f"text {index + 1}"

    def read(self, source: str, *, name: str | None = None) -> str:
        """The text as it is.

        Raises:
            DataError: it is empty, or no text.
        """
        name = "the text" if name is None else name
        if not isinstance(source, str):
            raise DataError(
                f"{name} is {type(source).__name__}, and the model reads texts",
                remedy="give a text",
            )
        if not source.strip():
            raise DataError(f"{name} is empty", remedy="leave it out")
        return source

    def predict_logits(self, split: TextSplit) -> Tensor:
        """Logits of every text of a split, float32 (texts, classes): what probabilities are of."""
        return self.logits(split.texts, from_store=True)

    def neural_logits(self, texts: Sequence[str], *, from_store: bool = False) -> Tensor:
        """Logits of the text model alone, as it was trained: float32 (texts, classes)."""
        parts = self.reading.inputs(texts, from_store=from_store)
        return torch.cat(
            [predict_inputs(self.model, part, HEAD_BATCH_TOKENS, self.device) for part in parts]
        )

    def logits(self, examples: Sequence[str], *, from_store: bool = False) -> Tensor:
        """What probabilities are of, float32 (texts, classes); of an empty text too."""
        logits = self.neural_logits(examples, from_store=from_store) / self.temperature
        if self.stack is None or self.ngrams is None:
            return logits
        neural = logits.log_softmax(dim=1).numpy()
        together = self.stack.log_probabilities(neural, self.ngrams.log_probabilities(examples))
        return torch.from_numpy(np.asarray(together, dtype=np.float32))


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
