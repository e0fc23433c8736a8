"""What determines a text run: its data, encoder, head, n-grams and fit."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from qkv.data.text_files import TextTableSettings
from qkv.text.encoder import EncoderSettings
from qkv.text.heads import AttentionHeadSettings, HeadSettings
from qkv.text.ngrams import NGramSettings
from qkv.training.training_settings import Recipe, TrainingSettings

TOP_PREFIX = "top."


class TextDataSettings(TextTableSettings):
    """Which texts are read, and what is set aside."""

    dataset: Literal["imdb", "table"]
    """A known data set, or a table or folder of the user's own."""

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        return self if self.dataset == "imdb" else self.require_some_to_train()


class TextTrainingSettings(TrainingSettings):
    """How a head, or a head and the top of its encoder, is fitted."""

    batch_by: Literal["tokens", "texts"] = "tokens"
    """Whether `batch_tokens` or `batch_size` cuts the batches; texts of a batch are alike in length
    either way."""
    batch_tokens: int = Field(default=16_384, ge=1)
    """Tokens a batch, padding included."""
    evaluation_batch_tokens: int = Field(default=16_384, ge=1)
    """Tokens a batch when only predicting, padding included."""
    encoder_learning_rate: float = Field(default=5e-5, gt=0.0, le=1.0)
    """Peak step size of encoder layers that are trained too."""

    @model_validator(mode="after")
    def _an_optimiser_for_heads(self) -> Self:
        if self.optimizer == "muon":
            raise ValueError("muon is for the blocks of a Vision Transformer: use adam or adamw")
        return self

    def learning_rate_factor(self, name: str) -> float:
        """The encoder's layers take steps of their own size."""
        if name.startswith(TOP_PREFIX):
            return self.encoder_learning_rate / self.learning_rate
        return 1.0


class TextRecipe(Recipe):
    """Everything that determines a text run, but the data's bytes."""

    task: Literal["text"]
    """The kind of model."""
    data: TextDataSettings
    """Which texts."""
    encoder: EncoderSettings = EncoderSettings()
    """What turns a text into states, and which of its states."""
    states: Literal["float16", "int8"] = "float16"
    """How states are kept: 2 bytes a number, or 1 with a scale for each token."""
    unfreeze_layers: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    """Top layers of the encoder that are trained with the head; `all` takes its embeddings too."""
    head: HeadSettings = Field(default=AttentionHeadSettings(kind="attention"))
    """What turns states into logits."""
    ngrams: NGramSettings = NGramSettings()
    """The bag-of-n-grams model that stands beside."""
    stack: bool = False
    """Answer by both models together, weighed on validation data."""
    training: TextTrainingSettings = TextTrainingSettings()
    """The fit."""

    @model_validator(mode="after")
    def _unfrozen_layers_see_whole_windows(self) -> Self:
        if self.unfreeze_layers != 0 and self.encoder.truncation.kind == "windows":
            raise ValueError(
                "unfreeze_layers does not go with truncation 'windows': attention would run "
                "across their joints"
            )
        if self.unfreeze_layers != 0 and self.encoder.layers != "last":
            raise ValueError("unfreeze_layers trains up to the last layer: set encoder.layers last")
        return self
