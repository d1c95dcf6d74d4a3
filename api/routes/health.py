"""Whether the process lives, and whether it can work. Open to everyone; says nothing private."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Final, Literal

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse

from api.dependencies import Deployment
from api.resources import Resources
from fanfare.db import workers
from fanfare.degradation import Crew
from fanfare.errors import DatabaseUnavailable
from fanfare.readiness import CHECK_TIMEOUT, Check, problems_of, within

router = APIRouter(tags=["health"])

State = Literal["ok", "failing"]

# As long as a check takes at most: who asks sooner finds the same.
RETRY_AFTER: Final = {"Retry-After": f"{CHECK_TIMEOUT.total_seconds():.0f}"}

_log = structlog.get_logger()


class Health(BaseModel):
    status: State


class CheckView(BaseModel):
    """One thing that the API stands on."""

    state: State
    reason: str | None = Field(description="Why it fails, and what helps. Null where it is ok.")

    @classmethod
    def of(cls, problem: Exception | None) -> "CheckView":
        """`ok` where there is no problem."""
        if problem is None:
            return cls(state="ok", reason=None)
        return cls(state="failing", reason=str(problem))


class WorkersView(BaseModel):
    """Who sends. The API works without: campaigns wait."""

    live: int = Field(description="How many workers were heard of within the last 20 seconds.")
    in_trouble: int = Field(description="How many of those say that something is in their way.")
    heard_at: datetime | None = Field(description="When any was heard of last, within the hour.")


class Readiness(Health):
    checks: Mapping[str, CheckView]
    workers: WorkersView | None = Field(
        description="For information; it makes nothing ready or unready. Null where PostgreSQL "
        "cannot say."
    )


@router.get("/healthz")
async def get_health() -> Health:
    """The process lives."""
    return Health(status="ok")


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
async def get_readiness(resources: Deployment) -> JSONResponse:
    """Everything that the API stands on answers: PostgreSQL, its tables, Temporal. 503 where
    something does not, with the reason. Each is asked for five seconds at most, and once a second
    however many ask here."""
    found = await resources.readiness.get(partial(_find, resources))
    assert isinstance(found, Readiness)
    if found.status == "ok":
        return JSONResponse(found.model_dump(mode="json"))
    return JSONResponse(found.model_dump(mode="json"), 503, headers=RETRY_AFTER)


async def _find(resources: Resources) -> Readiness:
    checks, crew = await asyncio.gather(_checks(resources.readiness_checks), _workers(resources))
    failing = [name for name in checks if checks[name].state != "ok"]
    if failing:
        _log.warning("not_ready", checks=failing)
    if set(failing) <= {"temporal"}:
        # Whoever is told that it is ready is let in.
        resources.gate.open()
    return Readiness(status="failing" if failing else "ok", checks=checks, workers=crew)


async def _checks(checks: Mapping[str, Check]) -> Mapping[str, CheckView]:
    problems = await problems_of(checks)
    return {name: CheckView.of(problems.get(name)) for name in checks}


async def _workers(resources: Resources) -> WorkersView | None:
    try:
        crew = await within(CHECK_TIMEOUT, _crew(resources))
    except (DatabaseUnavailable, SQLAlchemyError, TimeoutError):
        # Without tables there is nobody to ask either.
        return None
    return WorkersView(live=crew.live, in_trouble=crew.live - crew.well, heard_at=crew.heard_at)


async def _crew(resources: Resources) -> Crew:
    async with resources.database.transaction() as conn:
        return await workers.crew(conn)
