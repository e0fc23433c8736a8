"""qkv: small attention models, trained in minutes, opened up, measured and put to work.

run = qkv.train(qkv.load_recipe("fashion-mnist"))
model = qkv.load(run)
model.predict(["shoe.png"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qkv.errors import QKVError

if TYPE_CHECKING:
    from qkv.evaluation.evaluate import evaluate
    from qkv.explanation.explain import explain
    from qkv.loading import load
    from qkv.training.recipe import load_recipe
    from qkv.training.train import resume, train

__version__ = "0.1.0"

__all__ = ["QKVError", "evaluate", "explain", "load", "load_recipe", "resume", "train"]

# Each name is imported when it is first used, so that `import qkv` does not wait for torch.
_HOMES = {
    "evaluate": "qkv.evaluation.evaluate",
    "explain": "qkv.explanation.explain",
    "load": "qkv.loading",
    "load_recipe": "qkv.training.recipe",
    "resume": "qkv.training.train",
    "train": "qkv.training.train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'qkv' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
