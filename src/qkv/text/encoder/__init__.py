"""The frozen encoder: found, loaded, and asked for its hidden states."""

from qkv.text.encoder.hub import EncoderFiles, locate_encoder
from qkv.text.encoder.model import Encoder, load_encoder
from qkv.text.encoder.settings import EncoderSettings
from qkv.text.encoder.trainable import EncoderTop, StackedEncoder, WholeEncoder

__all__ = [
    "Encoder",
    "EncoderFiles",
    "EncoderSettings",
    "EncoderTop",
    "StackedEncoder",
    "WholeEncoder",
    "load_encoder",
    "locate_encoder",
]
