"""From the folder of a text run to its classifier."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from qkv.classifiers.configuration import class_names, load_weights, temperature
from qkv.errors import RunError
from qkv.runs import Run
from qkv.text.classifier import TextClassifier
from qkv.text.encoder import EncoderSettings
from qkv.text.heads import HeadSettings, build_head
from qkv.text.model import TextModel
from qkv.text.ngrams import NGramModel, NGramSettings
from qkv.text.reading import Reading
from qkv.text.stacking import Stack

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
