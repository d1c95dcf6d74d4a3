"""What a route may ask for by the type of its argument."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request
from sqlalchemy.ext.asyncio import AsyncConnection

from api.principals import Principal
from api.resources import Resources, resources_of
from fanfare.db.rows import MAX_PAGE, PageRequest
from fanfare.ids import new_id
from fanfare.models import ProjectCtx


# Coroutines all: FastAPI hands what is none to a thread, for 0.2 ms a request.
async def _resources(request: Request) -> Resources:
    return resources_of(request)


async def _principal(request: Request) -> Principal:
    principal = request.state.principal
    assert isinstance(principal, Principal)
    return principal


async def _project(request: Request) -> ProjectCtx:
    project = request.state.project
    assert isinstance(project, ProjectCtx)
    return project


async def _claim_id(request: Request) -> UUID:
    """The id of what this request creates, a UUIDv7: its claim's where it has an Idempotency-Key,
    else a fresh one.

    An earlier run of the same request may have crashed after its commit and before its answer.
    Whoever creates inserts with this id (or one derived from it) and `ON CONFLICT DO NOTHING`, and
    answers with the row of that id where there is one, before it checks anything that may have
    changed since, such as the time or the rows that the new one refers to.
    """
    claim_id = getattr(request.state, "claim_id", None)
    if claim_id is None:
        return new_id()
    assert isinstance(claim_id, UUID)
    return claim_id


Deployment = Annotated[Resources, Depends(_resources)]
Caller = Annotated[Principal, Depends(_principal)]
# The project that the request is about: the key's, or the path's for an operator.
Project = Annotated[ProjectCtx, Depends(_project)]
# Of what the request creates; `_claim_id` says how to use it.
ClaimId = Annotated[UUID, Depends(_claim_id)]


async def _connection(project: Project, resources: Deployment) -> AsyncIterator[AsyncConnection]:
    async with resources.database.project(project) as conn:
        yield conn


async def _operator_connection(resources: Deployment) -> AsyncIterator[AsyncConnection]:
    async with resources.database.transaction() as conn:
        yield conn


async def _audience_connection(resources: Deployment) -> AsyncIterator[AsyncConnection]:
    async with resources.database.audience() as conn:
        yield conn


# The scope "function" ends the transaction before the answer is sent: who reads a 201 can find
# the row, and a commit that fails is answered as the error that it is.
Connection = Annotated[AsyncConnection, Depends(_connection, scope="function")]
# Sees no project's rows; for `projects` and `api_keys`, which stand outside the wall.
OperatorConnection = Annotated[AsyncConnection, Depends(_operator_connection, scope="function")]

# Evaluates rules; the statement names the project.
AudienceConnection = Annotated[AsyncConnection, Depends(_audience_connection, scope="function")]


async def _paging(
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many at most.")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=1000, description="`next_cursor` of the page before.")
    ] = None,
) -> PageRequest:
    return PageRequest(limit, cursor)


Paging = Annotated[PageRequest, Depends(_paging)]
