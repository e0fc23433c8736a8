"""From an encoder's files to a model of transformers with exactly their weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from qkv.devices import Precision, resolve_precision
from qkv.errors import DataError, MissingExtraError
from qkv.text.encoder.families import FAMILIES, Family
from qkv.text.encoder.files import EncoderFiles
from qkv.text.encoder.model import Encoder
from qkv.text.encoder.packed import ATTENTION, register_packed_attention
from qkv.text.encoder.weights import read_weights

_REMEDY = "fetch the encoder again, or name another"
# What transformers raises at a config that is damaged, contradicts itself, or asks for the moon.
_UNUSABLE = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError)


@dataclass(frozen=True)
class LoadedModel:
    """A model of transformers, in float32 and evaluation mode.

    Attributes:
        module: the model without its pooler.
        family: how it is built.
        parameters: how many numbers the architecture has, the pooler's included.
    """

    module: Any
    family: Family
    parameters: int


def load_encoder(
    files: EncoderFiles, *, device: torch.device, precision: Precision = "auto"
) -> Encoder:
    """The encoder of these files, with its weights cast once.

    Raises:
        MissingExtraError: transformers is not installed.
        DataError: the files are damaged, do not fit together, or are of no known kind.
        DeviceError: the device has no such precision.
    """
    dtype = resolve_precision(precision, device)
    return Encoder(files, load_model, device=device, dtype=dtype)


def load_model(files: EncoderFiles) -> LoadedModel:
    """The model of these files, new each time.

    Raises:
        MissingExtraError: transformers is not installed.
        DataError: the files are damaged, do not fit together, or are of no known kind.
    """
    try:
        import transformers
    except ImportError:
        raise MissingExtraError(
            f"encoder {files.name} needs the package transformers",
            remedy="pip install 'qkv[text]'",
        ) from None
    with _silence(transformers):
        try:
            config = transformers.AutoConfig.from_pretrained(
                files.folder, trust_remote_code=False, local_files_only=True
            )
            family = _family(files, config)
            module = _build(config, family, transformers)
        except _UNUSABLE as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise DataError(f"{files.config} cannot be used: {reason}", remedy=_REMEDY) from None
        parameters = sum(parameter.numel() for parameter in module.parameters())
        # Nothing reads what a pooler makes of the first state.
        if getattr(module, "pooler", None) is not None:
            module.pooler = None
        expected = module.state_dict()
        tensors = read_weights(files.weights, expected, module.base_model_prefix)
        module.load_state_dict(tensors, assign=True)
    return LoadedModel(module.eval(), family, parameters)


def _family(files: EncoderFiles, config: Any) -> Family:
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise DataError(
            f"{files.config}: qkv knows no encoder of model_type {config.model_type!r}",
            remedy=f"choose one of {', '.join(sorted(FAMILIES))}",
        )
    return family


def _build(config: Any, family: Family, transformers: Any) -> Any:
    from transformers.initialization import no_init_weights

    # The config of a decoder made from an encoder would hide what comes later in a text.
    config.is_decoder = False
    config.add_cross_attention = False
    attention = {}
    if family.stack is not None:
        register_packed_attention()
        attention = {"attn_implementation": ATTENTION}
    # All weights are replaced: what is drawn for them must not move the user's generator.
    with torch.random.fork_rng(devices=[]), no_init_weights():
        return transformers.AutoModel.from_config(
            config, dtype=torch.float32, trust_remote_code=False, **attention
        )


@contextmanager
def _silence(transformers: Any) -> Iterator[None]:
    """Let transformers say nothing but errors, for a moment."""
    logging = transformers.utils.logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
