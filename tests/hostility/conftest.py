"""The API on a socket, a project of its own, and a key of every kind; its logs are watched."""

import logging
from collections.abc import Iterator, Mapping
from typing import Literal

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs
from temporalio.testing import WorkflowEnvironment

from fanfare import api_keys
from fanfare.db import keys
from fanfare.db.engine import Database
from fanfare.db.keys import NewKey
from fanfare.db.tables import projects
from fanfare.entities import Scope
from fanfare.models import ProjectCtx
from tests.api.conftest import OPERATOR_KEY
from tests.hostility.described import PROJECT_ID
from tests.hostility.serving import PEPPER, Servers, serving

Caller = Literal["admin", "phone", "operator", "nobody"]


@pytest.fixture(scope="session")
def hostile_url(database_url: str, idle_temporal_env: WorkflowEnvironment) -> Iterator[str]:
    address = idle_temporal_env.client.service_client.config.target_host
    with serving(Servers(database_url, address)) as url:
        yield url


@pytest.fixture(scope="session")
async def headers_of(database: Database) -> Mapping[Caller, Mapping[str, str]]:
    """What each caller sends beside its request."""
    async with database.transaction() as conn:
        await conn.execute(sa.insert(projects).values(id=PROJECT_ID, name="Hostility"))
        admin = await _key(conn, Scope.ADMIN)
        phone = await _key(conn, Scope.DEVICES_REGISTER)
    return {
        "admin": {"Authorization": f"Bearer {admin}"},
        "phone": {"Authorization": f"Bearer {phone}"},
        "operator": {"Authorization": f"Bearer {OPERATOR_KEY}"},
        "nobody": {},
    }


@pytest.fixture(autouse=True)
def _nothing_unexpected_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with capture_logs() as logs, caplog.at_level(logging.WARNING):
        yield
    assert [line for line in logs if line["log_level"] in {"error", "critical"}] == []
    assert [record.getMessage() for record in caplog.records] == []


async def _key(conn: AsyncConnection, scope: Scope) -> str:
    minted = api_keys.mint(PEPPER)
    await keys.create(conn, ProjectCtx(PROJECT_ID), NewKey(scope, {scope}), minted)
    return minted.text
