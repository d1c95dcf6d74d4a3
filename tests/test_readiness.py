"""Why something is not ready, in sentences that name no host and no secret."""

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from fanfare import readiness
from fanfare.db.engine import Database
from fanfare.dev import postgres
from fanfare.errors import Misconfigured
from fanfare.readiness import NotReady, database_check, problems_of, schema_check, temporal_check


async def test_database_that_does_not_exist_is_named(postgres_port: int) -> None:
    nowhere = Database(postgres.url(postgres_port, "there_is_none"))

    with pytest.raises(NotReady, match="PostgreSQL has no such database or user"):
        await database_check(nowhere)()
    await nowhere.close()


async def test_host_that_is_not_known_is_named_without_its_name() -> None:
    nowhere = Database("postgresql://fanfare:secret@host.invalid/fanfare")

    with pytest.raises(NotReady) as raised:
        await database_check(nowhere)()
    await nowhere.close()

    assert str(raised.value) == "The host of FANFARE_DATABASE_URL is not known here."


async def test_database_without_tables_says_what_helps(postgres_port: int) -> None:
    postgres.ensure_database(postgres_port, "readiness_without_schema")
    url = postgres.url(postgres_port, "readiness_without_schema")
    empty = Database(url)

    problems = await problems_of({"schema": schema_check(empty, url)})
    async with empty.transaction() as conn:
        await conn.execute(sa.text("CREATE TABLE alembic_version (version_num text)"))
    begun = await problems_of({"schema": schema_check(empty, url)})
    await empty.close()

    assert str(problems["schema"]).endswith("run `python -m fanfare.db.migrate`.")
    assert str(begun["schema"]) == str(problems["schema"])


async def test_check_that_does_not_let_go_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readiness, "CHECK_TIMEOUT", timedelta(milliseconds=50))
    let_go = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await let_go.wait()

    problems = await asyncio.wait_for(problems_of({"postgres": stubborn}), 5)
    let_go.set()

    assert str(problems["postgres"]) == "No answer within 0 seconds."


async def test_temporal_that_answers_is_ready(idle_temporal_env: WorkflowEnvironment) -> None:
    assert await problems_of({"temporal": temporal_check(idle_temporal_env.client)}) == {}


async def test_temporal_that_is_away_is_named() -> None:
    away = await Client.connect("127.0.0.1:9", lazy=True)

    with pytest.raises(NotReady, match=r"^Temporal does not answer\.$"):
        await temporal_check(away)()


async def test_address_that_cannot_be_meant_is_no_matter_of_waiting() -> None:
    wrong = await Client.connect("127.0.0.1:port", lazy=True)

    with pytest.raises(Misconfigured, match="TEMPORAL_ADDRESS cannot be read"):
        await temporal_check(wrong)()
