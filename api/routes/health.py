"""Whether the process lives, and whether it can work. Open to everyone; says nothing private."""

import asyncio
from datetime import timedelta
from typing import Literal

import structlog
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import JSONResponse

from api.dependencies import Deployment
from api.resources import ReadinessCheck

router = APIRouter(tags=["health"])

CHECK_TIMEOUT = timedelta(seconds=5)

State = Literal["ok", "failing"]
_log = structlog.get_logger()


class Health(BaseModel):
    status: State


class Readiness(Health):
    checks: dict[str, State]


@router.get("/healthz")
async def get_health() -> Health:
    """The process lives."""
    return Health(status="ok")


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
async def get_readiness(resources: Deployment) -> JSONResponse:
    """Everything that the API stands on answers. 503 where something does not; the log says why."""
    checks = resources.readiness_checks
    states = await asyncio.gather(*(_state(name, check) for name, check in checks.items()))
    ready = "failing" not in states
    readiness = Readiness(
        status="ok" if ready else "failing", checks=dict(zip(checks, states, strict=True))
    )
    return JSONResponse(readiness.model_dump(), 200 if ready else 503)


async def _state(name: str, check: ReadinessCheck) -> State:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT.total_seconds()):
            await check()
    except Exception as error:  # noqa: BLE001 - whatever it is, the thing is not ready
        _log.warning("not_ready", check=name, error_type=type(error).__name__)
        return "failing"
    return "ok"
