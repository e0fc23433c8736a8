"""What a recipe says of its encoder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qkv.devices import Precision
from qkv.errors import RecipeError
from qkv.settings import Settings
from qkv.text.windows import TruncationSettings

Layer = Annotated[int, Field(ge=0)]


class EncoderSettings(Settings):
    """Which encoder, which of its states, and how it computes them."""

    name: str = Field(default="all-MiniLM-L6-v2", min_length=1)
    """A model that comes as a package, a model of the hub, or a local folder."""
    revision: str | None = Field(default=None, min_length=1)
    """Commit, tag or branch of the hub's model; none: what is at hand, else the newest."""
    layers: Literal["last"] | Layer | list[Layer] = "last"
    """Layers whose output a head reads: 0 is the embeddings; of several the mean is read."""
    truncation: TruncationSettings = TruncationSettings()
    """What becomes of texts longer than the encoder reads at once."""
    precision: Precision = "auto"
    """Of weights and matrix products; auto: bfloat16 where hardware computes it natively."""
    batch_tokens: int = Field(default=8192, ge=1)
    """Tokens that are encoded at once; no state depends on it."""

    def resolved_layers(self, num_layers: int) -> list[int]:
        """The layers asked for, ascending, of an encoder of so many layers.

        Raises:
            RecipeError: the encoder has no such layer, or none is asked for.
        """
        if self.layers == "last":
            return [num_layers]
        asked = [self.layers] if isinstance(self.layers, int) else self.layers
        if not asked or len(set(asked)) != len(asked) or max(asked) > num_layers:
            raise RecipeError(
                f"encoder.layers is {self.layers!r}, but {self.name} has layers 0 to {num_layers}",
                remedy="name one of them, several different ones, or 'last'",
            )
        return sorted(asked)
