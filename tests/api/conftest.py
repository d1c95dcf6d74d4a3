"""The application over a real PostgreSQL, called without a network; a fresh project per test."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from api.app import create_app
from api.resources import Resources
from fanfare.db.engine import API_ROLE, Database
from fanfare.db.read_pool import ReadPool
from fanfare.readiness import database_check, schema_check
from fanfare.sealing import KeyRing

OPERATOR_KEY = "an operator's key of the environment"
# A client that never connects: for applications that are only looked at, or that miss Temporal.
NO_TEMPORAL = asyncio.run(
    Client.connect("127.0.0.1:9", lazy=True, data_converter=pydantic_data_converter)
)
# Likewise for the database: it is never opened.
NO_READS = ReadPool("postgresql://nowhere", role=API_ROLE)
KEY_RING = KeyRing("v1:" + base64.b64encode(b"k" * 32).decode())


@dataclass(frozen=True, slots=True)
class Tenant:
    """A project, and a client that speaks with its admin key."""

    project_id: str
    key: str
    client: AsyncClient

    @property
    def door(self) -> str:
        return f"/v1/admin/projects/{self.project_id}"


@pytest.fixture(scope="session")
async def api_database(database_url: str) -> AsyncIterator[Database]:
    """The database as the HTTP door sees it: held to one project by row-level security."""
    database = Database(database_url, role=API_ROLE)
    yield database
    await database.close()


@pytest.fixture(scope="session")
async def reads(database_url: str) -> AsyncIterator[ReadPool]:
    reads = ReadPool(database_url, role=API_ROLE)
    await reads.open()
    yield reads
    await reads.close()


@pytest.fixture(scope="session")
def app(
    api_database: Database,
    reads: ReadPool,
    database_url: str,
    idle_temporal_env: WorkflowEnvironment,
) -> FastAPI:
    return create_app(
        Resources(
            database=api_database,
            reads=reads,
            temporal=idle_temporal_env.client,
            key_ring=KEY_RING,
            pepper=b"p" * 32,
            operator_key=OPERATOR_KEY,
            readiness_checks={
                "postgres": database_check(api_database),
                "schema": schema_check(api_database, database_url),
            },
        ),
    )


@pytest.fixture
async def operator(app: FastAPI) -> AsyncIterator[AsyncClient]:
    async with open_client(app, OPERATOR_KEY) as client:
        yield client


@pytest.fixture
async def tenant(app: FastAPI, operator: AsyncClient) -> AsyncIterator[Tenant]:
    tenant = await new_tenant(app, operator)
    async with tenant.client:
        yield tenant


@pytest.fixture
async def other_tenant(app: FastAPI, operator: AsyncClient) -> AsyncIterator[Tenant]:
    tenant = await new_tenant(app, operator)
    async with tenant.client:
        yield tenant


@pytest.fixture
def client(tenant: Tenant) -> AsyncClient:
    """Speaks with the admin key of a project of this test's own."""
    return tenant.client


def open_client(app: FastAPI, key: str | None) -> AsyncClient:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return AsyncClient(transport=ASGITransport(app), base_url="http://api", headers=headers)


async def new_tenant(app: FastAPI, operator: AsyncClient) -> Tenant:
    answer = (await operator.post("/admin/projects", json={"name": "Acme"})).json()["data"]
    key = answer["key"]["secret"]
    return Tenant(answer["project"]["id"], key, open_client(app, key))


async def restricted(app: FastAPI, tenant: Tenant, *scopes: str, **more: object) -> AsyncClient:
    """A client whose key has these scopes only."""
    body = {"name": "Restricted", "scopes": scopes, **more}
    answer = await tenant.client.post("/admin/keys", json=body)
    return open_client(app, answer.json()["data"]["secret"])


async def own_segments(client: AsyncClient) -> list[dict[str, Any]]:  # Any: JSON
    """The project's segments but for those that every project has."""
    answer = await client.get("/admin/segments")
    return [each for each in answer.json()["data"] if not each["is_system"]]
