"""The frozen encoder: found, loaded, and asked for its hidden states."""

from qkv.text.encoder.files import EncoderFiles
from qkv.text.encoder.load import load_encoder
from qkv.text.encoder.locate import locate_encoder
from qkv.text.encoder.model import Encoder
from qkv.text.encoder.settings import EncoderSettings
from qkv.text.encoder.top import EncoderTop, StackedEncoder, WholeEncoder

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
