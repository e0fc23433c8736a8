"""The studies, each at a setting that the page lets a hand drag."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from qkv.serving import study_documents as documents
from qkv.serving.routes.requests import ASKING_ERRORS, LOOKING_ERRORS, engine_of
from qkv.serving.schemas import Answer

router = APIRouter(prefix="/v1/studies", tags=["studies"])


class Study(Answer):
    """A study and what it asks."""

    id: str
    title: str
    question: str


class Studies(Answer):
    """All that are here."""

    studies: list[Study]


class Sequence(BaseModel):
    """Integers of any sign."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    inputs: list[int] = Field(min_length=1, max_length=documents.MAX_INPUTS)
    """x_1 to x_T, of at most 100 digits each."""


class Lengths(BaseModel):
    """What to measure."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    tokens: int = Field(ge=documents.LEAST, le=documents.MOST_MEASURED)
    """Length of the sequence."""
    head_dim: int = Field(
        default=documents.HEAD_DIM,
        ge=documents.LEAST_WIDTH,
        le=documents.MOST_WIDTH,
    )
    """Width of queries, keys and values."""


STUDIES = (
    Study(
        id="recurrence",
        title="A recurrence that compares",
        question="What do hₜ = xₜ − hₜ₋₁ and a sigmoid say of a sequence of integers?",
    ),
    Study(
        id="copying",
        title="Attention that copies",
        question="How close does attention without weights come to copying its tokens?",
    ),
    Study(
        id="linear-attention",
        title="Attention in linear time",
        question="From which length on does linear attention cost less than softmax attention?",
    ),
)


@router.get("", response_model=Studies, responses=LOOKING_ERRORS)
def studies() -> Studies:
    """The studies."""
    return Studies(studies=list(STUDIES))


@router.get("/copying", response_model=documents.CopyingAnswer, responses=LOOKING_ERRORS)
def copy(
    beta: Annotated[float, Query(ge=documents.SMALLEST, le=documents.LARGEST)] = 2.0,
) -> documents.CopyingAnswer:
    """Attention on three tokens made of orthogonal vectors of norm β."""
    return documents.answer_copying(beta)


@router.get(
    "/linear-attention",
    response_model=documents.LinearAttentionAnswer,
    responses=LOOKING_ERRORS,
)
def linear(
    tokens: Annotated[int, Query(ge=documents.LEAST, le=documents.MOST)] = documents.MOST_MEASURED,
    head_dim: Annotated[
        int, Query(ge=documents.LEAST_WIDTH, le=documents.MOST_WIDTH)
    ] = documents.HEAD_DIM,
) -> documents.LinearAttentionAnswer:
    """Operations and bytes of softmax and of linear attention, counted."""
    return documents.answer_linear_attention(tokens, head_dim)


@router.post(
    "/linear-attention/measure",
    response_model=documents.MeasuredCosts,
    responses=ASKING_ERRORS,
)
async def measure(request: Request, asked: Lengths) -> documents.MeasuredCosts:
    """Time both on this machine, in turn, a second or so; one such request at a time."""
    return await engine_of(request).look(
        lambda: documents.measure_linear_attention(asked.tokens, asked.head_dim)
    )


@router.post(
    "/recurrence",
    response_model=documents.RecurrenceAnswer,
    responses=ASKING_ERRORS,
)
def recur(asked: Sequence) -> documents.RecurrenceAnswer:
    """Follow the recurrence h_t = x_t − h_(t−1) through the integers, exactly."""
    return documents.answer_recurrence(asked.inputs)
