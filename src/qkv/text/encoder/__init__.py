"""The frozen encoder: found, loaded, and asked for its hidden states."""

from qkv.text.encoder.hub import EncoderFiles, locate_encoder
from qkv.text.encoder.model import Encoder, load_encoder
from qkv.text.encoder.settings import EncoderSettings

__all__ = ["Encoder", "EncoderFiles", "EncoderSettings", "load_encoder", "locate_encoder"]
