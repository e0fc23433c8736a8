"""Token states of texts, computed once by a frozen encoder and kept on disk.

A store belongs to everything that determines a state: encoder weights, tokenizer, layers,
truncation, precision, and how entries are kept. Within it a state is found by the hash of its text
alone, so any split, seed or data set that contains a text reuses its states.

    cache/states/
      NAME-0123456789abcdef/     one store; the digits are the hash of its facts
        facts.json               the facts, for people and `qkv data cache list`
        DIGEST.safetensors       a segment: some texts' states, written once and never changed
        DIGEST.safetensors.damaged   a segment that failed its check, set aside
        verified.json            which files have been hashed since they last changed
      locks/NAME-….lock          held by the one process that adds to, or clears, a store
"""

from qkv.text.states.catalogue import StoreFacts, clear, list_stores
from qkv.text.states.encodes import Encodes, PreparedTexts
from qkv.text.states.fill import Filled
from qkv.text.states.keys import Kind, states_root
from qkv.text.states.packing import Packed, pack, unpack
from qkv.text.states.reader import StatesReader
from qkv.text.states.store import StatesStore, open_store

__all__ = [
    "Encodes",
    "Filled",
    "Kind",
    "Packed",
    "PreparedTexts",
    "StatesReader",
    "StatesStore",
    "StoreFacts",
    "clear",
    "list_stores",
    "open_store",
    "pack",
    "states_root",
    "unpack",
]
