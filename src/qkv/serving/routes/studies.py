"""The studies, each at a setting that the page lets a hand drag."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from qkv.serving.routes.asked import ASKING_ERRORS, LOOKING_ERRORS, engine_of
from qkv.serving.schemas import Answer
from qkv.serving.study_answers import copying, linear_attention, recurrence

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

    inputs: list[int] = Field(min_length=1, max_length=recurrence.MAX_INPUTS)
    """x_1 to x_T, of at most 100 digits each."""


class Lengths(BaseModel):
    """What to measure."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    tokens: int = Field(ge=linear_attention.LEAST, le=linear_attention.MOST_MEASURED)
    """Length of the sequence."""
    head_dim: int = Field(
        default=linear_attention.HEAD_DIM,
        ge=linear_attention.LEAST_WIDTH,
        le=linear_attention.MOST_WIDTH,
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


@router.get("/copying", response_model=copying.CopyingAnswer, responses=LOOKING_ERRORS)
def copy(
    beta: Annotated[float, Query(ge=copying.SMALLEST, le=copying.LARGEST)] = 2.0,
) -> copying.CopyingAnswer:
    """Attention on three tokens made of orthogonal vectors of norm β."""
    return copying.answer_copying(beta)


@router.get(
    "/linear-attention",
    response_model=linear_attention.LinearAttentionAnswer,
    responses=LOOKING_ERRORS,
)
def linear(
    tokens: Annotated[
        int, Query(ge=linear_attention.LEAST, le=linear_attention.MOST)
    ] = linear_attention.MOST_MEASURED,
    head_dim: Annotated[
        int, Query(ge=linear_attention.LEAST_WIDTH, le=linear_attention.MOST_WIDTH)
    ] = linear_attention.HEAD_DIM,
) -> linear_attention.LinearAttentionAnswer:
    """Operations and bytes of softmax and of linear attention, counted."""
    return linear_attention.answer_linear_attention(tokens, head_dim)


@router.post(
    "/linear-attention/measure",
    response_model=linear_attention.MeasuredCosts,
    responses=ASKING_ERRORS,
)
async def measure(request: Request, asked: Lengths) -> linear_attention.MeasuredCosts:
    """Time both on this machine, in turn, a second or so; one such request at a time."""
    return await engine_of(request).look(
        lambda: linear_attention.measure_linear_attention(asked.tokens, asked.head_dim)
    )


@router.post(
    "/recurrence",
    response_model=recurrence.RecurrenceAnswer,
    responses=ASKING_ERRORS,
)
def recur(asked: Sequence) -> recurrence.RecurrenceAnswer:
    """Follow the recurrence h_t = x_t − h_(t−1) through the integers, exactly."""
    return recurrence.answer_recurrence(asked.inputs)
