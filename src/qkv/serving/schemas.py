"""What the API answers, as its OpenAPI description shows it.

The answers themselves are rendered by the routes; these classes describe them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Base of all answers: fields are documented below them."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class ErrorAnswer(Answer):
    """What went wrong, and what to do about it."""

    error: str
    """The problem, one line."""
    remedy: str
    """What to do, one line."""


class Score(Answer):
    """A class with its probability."""

    label: str
    """Name of the class."""
    score: float = Field(ge=0.0, le=1.0)
    """Its probability."""


class ModelSummary(Answer):
    """A served model, in a list."""

    id: str
    """What it is called in addresses."""
    task: Literal["vision", "text"]
    """Whether it reads images or texts."""
    class_names: list[str]
    """In label order."""
    name: str
    """Name of its run folder."""
    accuracy: float | None
    """Share of test examples that it gets right; null if it was not tested."""


class ModelList(Answer):
    """All served models."""

    models: list[ModelSummary]


class ImageShape(Answer):
    """What a vision model reads."""

    image_size: int
    """Side of the square that an image is cut and scaled to, in pixels."""
    channels: int
    """1 grey, 3 colour."""
    patch_size: int
    """Side of a patch, in pixels."""
    grid_size: int
    """Patches along a side."""


class TextShape(Answer):
    """What a text model reads."""

    max_tokens: int
    """Tokens of one text at most; what is longer is cut."""


class AttentionChoices(Answer):
    """Whose attention can be asked for."""

    layers: list[int | Literal["head"]]
    """Layers, counted from 1, the lowest; `head` is the pooling of a text model."""
    heads: int
    """Attention heads of each numbered layer; they are counted from 0."""
    class_token: bool
    """Whether the first token stands for the whole image."""
    pool: bool
    """Whether the head pools words by attention."""
    pool_heads: int
    """How many sets of weights it has then."""


class Limits(Answer):
    """What one request may ask for."""

    max_body_bytes: int
    """Size of a request's body."""
    max_inputs: int
    """Inputs of one request."""
    max_pixels: int
    """Width times height of one image."""
    max_text_characters: int
    """Characters of one text."""
    max_request_tokens: int
    """Tokens of all texts of one request together."""


class ModelDetails(ModelSummary):
    """A served model, with everything that a page needs to know of it at once."""

    methods: list[str]
    """Ways to explain an answer."""
    default_method: str
    """The one that is taken if none is named."""
    input: ImageShape | TextShape
    """What it reads."""
    attention: AttentionChoices
    """Whose attention can be asked for."""
    limits: Limits
    """What one request may ask for."""
    card: dict[str, Any]
    """Parameters, test figures and data of the run."""


class TextWord(Answer):
    """A word where it stands in its text: `text[start:end]`, in Unicode characters."""

    text: str
    start: int
    end: int


class AttentionAnswer(Answer):
    """How much a part of an input attends to the others."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="allow")

    layer: int | Literal["head"]
    """Of which layer, counted from 1, the lowest; `head`: the pooling of a text model."""
    head: int | Literal["mean"]
    """Of which head, counted from 0, or the mean of all."""
    query: int | None
    """Which patch or word attends; null: the class token or the pool, or all of them."""
    grid_size: int | None = None
    """Of an image: patches along a side."""
    class_token: float | None = None
    """Of an image: the weight of the class token itself."""
    weights: list[float] | None = None
    """One a patch, row by row, or one a word; null where `matrix` is given."""
    matrix: list[list[float]] | str | None = None
    """All of it: rows attend to columns. Of an image a list of rows with the class token first, if
    there is one; of a text base64 of little-endian float16."""
    words: list[TextWord] | None = None
    """Of a text."""


class ExplanationAnswer(Answer):
    """How much each part of an input speaks for a class, and how far to believe that."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="allow")

    task: Literal["vision", "text"]
    """Whether it is of an image or of a text."""
    input: str
    """The text, or `image`."""
    method: str
    """How it was found."""
    label: str
    """The explained class."""
    probability: float
    """That the model gives it."""
    probabilities: dict[str, float]
    """Of every class."""
    contributions: list[float]
    """One a patch, row by row, or one a word."""
    signed: bool
    """Whether the method tells what speaks for the class from what speaks against it."""
    unit: str
    """Of a contribution."""
    faithfulness: dict[str, Any]
    """Its own measure: curves of deletion and insertion, and those of random orders."""
    seconds: float
    """That it took, its measure not counted."""
    completeness_gap: float | None
    """How far the contributions are from the sum that the method owes, in their unit; null of
    methods that owe none."""
    coarsened: str | None
    """What was done more coarsely because the input is long, in words; null if nothing."""
    pixels: list[list[int]] | list[list[list[int]]] | None = None
    """Of an image: what the model saw, grey or with three colours a pixel."""
    grid_size: int | None = None
    """Of an image: patches along a side."""
    heat: list[list[float]] | None = None
    """Of an image: contributions at its resolution."""
    text: str | None = None
    """Of a text: as it was given."""
    words: list[TextWord] | None = None
    """Of a text: one a contribution."""
    read: int | None = None
    """Of a text: words that the model read before the text was cut."""


class Health(Answer):
    """How the server is."""

    status: Literal["ok", "ready", "starting", "draining"]
