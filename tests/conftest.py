"""Real servers for the whole session: PostgreSQL with our schema, and two kinds of Temporal."""

import sysconfig
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from fanfare.db import migrate
from fanfare.db.engine import Database
from fanfare.db.tables import projects
from fanfare.dev import postgres, temporal_server
from fanfare.dev.processes import free_ports
from fanfare.ids import new_id
from fanfare.models import ProjectCtx
from workflows import attributes

# A shared machine is slow at times; that is not what these tests are about.
settings.register_profile("fanfare", deadline=None)
settings.load_profile("fanfare")

# Small, so that a campaign of some dozen batches continues as new.
SUGGEST_CONTINUE_AS_NEW_AT = 120

DYNAMIC_CONFIG = {
    **temporal_server.DYNAMIC_CONFIG,
    "history.workflowIdReuseMinimalInterval": '"1ms"',
    "limit.historyCount.suggestContinueAsNew": str(SUGGEST_CONTINUE_AS_NEW_AT),
}


@pytest.fixture(scope="session")
def postgres_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    home = tmp_path_factory.mktemp("postgres")
    port = free_ports({"postgres": 0})["postgres"]
    server = postgres.server(home / "data", port=port, log=home / "log")
    server.start()
    server.wait_until(lambda: postgres.accepts(port))
    yield port
    server.stop()


@pytest.fixture(scope="session")
def database_url(postgres_port: int) -> str:
    postgres.ensure_database(postgres_port, "fanfare")
    url = postgres.url(postgres_port, "fanfare")
    migrate.upgrade(url)
    return url


@pytest.fixture(scope="session")
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


@pytest.fixture
async def project(database: Database) -> ProjectCtx:
    """A project of the test's own: nothing has to be cleaned up after it."""
    project = ProjectCtx(new_id())
    async with database.transaction() as conn:
        await conn.execute(sa.insert(projects).values(id=project.project_id, name="a project"))
    return project


@pytest.fixture(scope="session")
async def temporal_env() -> AsyncIterator[WorkflowEnvironment]:
    async with await start_temporal() as env:
        yield env


@pytest.fixture(scope="session")
async def idle_temporal_env() -> AsyncIterator[WorkflowEnvironment]:
    """A server that nobody works for: what is started there stays as it is."""
    async with await start_temporal() as env:
        yield env


async def start_temporal() -> WorkflowEnvironment:
    """The real server, in memory."""
    flags = (f"{name}={value}" for name, value in DYNAMIC_CONFIG.items())
    return await WorkflowEnvironment.start_local(
        data_converter=pydantic_data_converter,
        dev_server_existing_path=str(temporal_server.binary()),
        dev_server_log_level="error",
        dev_server_extra_args=[part for flag in flags for part in ("--dynamic-config-value", flag)],
        search_attributes=attributes.ALL,
    )


@pytest.fixture(scope="session")
async def skipping_env() -> AsyncIterator[WorkflowEnvironment]:
    """The test server, whose time passes as fast as nothing happens."""
    binary = Path(sysconfig.get_path("scripts")) / "temporal-test-server"
    async with await WorkflowEnvironment.start_time_skipping(
        data_converter=pydantic_data_converter, test_server_existing_path=str(binary)
    ) as env:
        await env.client.operator_service.add_search_attributes(
            attributes.registration(env.client.namespace)
        )
        yield env
