"""What a route may ask for by the type of its argument."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Query, Request
from sqlalchemy.ext.asyncio import AsyncConnection

from api.principals import Principal
from api.resources import Resources, resources_of
from fanfare.db.rows import MAX_PAGE, PageRequest
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


Deployment = Annotated[Resources, Depends(_resources)]
Caller = Annotated[Principal, Depends(_principal)]
# The project that the request is about: the key's, or the path's for an operator.
Project = Annotated[ProjectCtx, Depends(_project)]


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
