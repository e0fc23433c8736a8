"""The test examples of a served run: what each is, and what was predicted of it."""

from qkv.serving.gallery.gallery import Gallery, Order, as_png
from qkv.serving.gallery.kept import Content
from qkv.serving.gallery.predictions import SavedPredictions

__all__ = ["Content", "Gallery", "Order", "SavedPredictions", "as_png"]
