"""How the server is, for whoever watches it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from qkv.serving.metrics import CONTENT_TYPE
from qkv.serving.routes.asked import as_json
from qkv.serving.schemas import Health

router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=Health)
async def alive() -> dict[str, str]:
    """200 while the process answers at all."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    response_model=Health,
    responses={503: {"model": Health, "description": "It is starting or stopping."}},
)
async def ready(request: Request) -> Response:
    """200 while it answers requests; 503 until all models are warm, and once it is stopping."""
    state = request.app.state
    status = "draining" if state.traffic.draining else state.engine.state
    return Response(
        as_json({"status": status}),
        status_code=200 if status == "ready" else 503,
        media_type="application/json",
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Counts and times in the text form of Prometheus."""
    content: Any = request.app.state.metrics.render()
    return Response(content, headers={"Content-Type": CONTENT_TYPE})
