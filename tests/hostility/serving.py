"""The API over a socket in a thread of its own: what tries to break it speaks HTTP, and waits."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from anyio.from_thread import start_blocking_portal
from temporalio import workflow
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    StartWorkflowInput,
    WorkflowHandle,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from api.app import create_app
from api.resources import Resources
from fanfare.db.engine import API_ROLE, Database
from fanfare.db.read_pool import ReadPool
from fanfare.readiness import database_check, schema_check, temporal_check
from tests.api.conftest import KEY_RING, OPERATOR_KEY
from tests.api.test_openapi import AnsweredTests
from workflows.segments import RefreshInput, RefreshReport
from workflows.testpush import SendTestPush

PEPPER = b"p" * 32
_WAITED_FOR = "hostility"


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the real ones are."""

    database_url: str
    temporal_address: str


@contextmanager
def serving(servers: Servers) -> Iterator[str]:
    """The base URL of an API that nothing is missing to, for as long as the context is open."""
    with start_blocking_portal() as portal:
        context = portal.wrap_async_context_manager(_serving(servers))
        with context as url:
            yield url


@asynccontextmanager
async def _serving(servers: Servers) -> AsyncIterator[str]:
    client = await Client.connect(
        servers.temporal_address,
        data_converter=pydantic_data_converter,
        interceptors=[_Aside()],
    )
    async with _resources(servers, client) as resources, _answering(servers, client):
        # Listens from here on: who connects before the server has started waits for it.
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(resources), access_log=False, log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await serving


@asynccontextmanager
async def _resources(servers: Servers, client: Client) -> AsyncIterator[Resources]:
    database = Database(servers.database_url, role=API_ROLE)
    reads = ReadPool(servers.database_url, role=API_ROLE)
    await reads.open()
    yield Resources(
        database=database,
        reads=reads,
        temporal=client,
        key_ring=KEY_RING,
        pepper=PEPPER,
        operator_key=OPERATOR_KEY,
        readiness_checks={
            "postgres": database_check(database),
            "schema": schema_check(database, servers.database_url),
            "temporal": temporal_check(client),
        },
    )
    await reads.close()
    await database.close()


@asynccontextmanager
async def _answering(servers: Servers, client: Client) -> AsyncIterator[None]:
    """A worker for what a caller waits for. What else is started stays as it is."""
    database = Database(servers.database_url)
    tests = AnsweredTests(database)
    async with Worker(
        client,
        task_queue=_WAITED_FOR,
        workflows=[SendTestPush, AnsweredRefresh],
        activities=[tests.send_test_push],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield
    await database.close()


@workflow.defn(name="RefreshSegments")
class AnsweredRefresh:
    """Says that a segment is refreshed."""

    @workflow.run
    async def run(self, refresh: RefreshInput) -> RefreshReport:
        return RefreshReport(refreshed=1)


class _Aside(Interceptor):
    """Has what a caller waits for done by a queue of its own, whose worker takes nothing else."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - as it is declared
        return _AsideOutbound(next)


class _AsideOutbound(OutboundInterceptor):
    async def start_workflow(
        self,
        input: StartWorkflowInput,  # noqa: A002 - as it is declared
    ) -> WorkflowHandle[Any, Any]:  # Any: as it is declared
        if input.workflow in {"SendTestPush", "RefreshSegments"}:
            input.task_queue = _WAITED_FOR
        return await super().start_workflow(input)
