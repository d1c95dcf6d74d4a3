"""What is asked all the time: held to its role and project, and back when PostgreSQL is."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import NoReturn

import psycopg
import pytest
import sqlalchemy as sa
from psycopg_pool import PoolTimeout

from fanfare.db.engine import API_ROLE, Database
from fanfare.db.read_pool import ReadPool
from fanfare.db.tables import segments
from fanfare.errors import DatabaseUnavailable
from fanfare.ids import new_id
from fanfare.models import ProjectCtx

SEGMENTS = "SELECT count(*) AS found FROM segments"
WHO = "SELECT current_user AS role, pg_backend_pid() AS pid"


@pytest.fixture
async def reads(database_url: str) -> AsyncIterator[ReadPool]:
    limits = {"statement_timeout": timedelta(seconds=5), "patience": timedelta(seconds=1)}
    reads = ReadPool(database_url, role=API_ROLE, size=1, **limits)
    await reads.open()
    yield reads
    await reads.close()


@pytest.fixture
async def segment(project: ProjectCtx, database: Database) -> None:
    """One row behind the wall."""
    row = {"project_id": project.project_id, "id": "seg_one", "name": "one", "rules": {}}
    async with database.transaction() as conn:
        await conn.execute(sa.insert(segments).values(row))


@pytest.mark.usefixtures("segment")
async def test_a_question_sees_the_rows_of_its_project_alone(
    reads: ReadPool, project: ProjectCtx
) -> None:
    own = await reads.row_of(project, SEGMENTS, {})
    others = await reads.row_of(ProjectCtx(new_id()), SEGMENTS, {})
    nobodys = await reads.row(SEGMENTS, {})

    assert own == {"found": 1}
    assert others == nobodys == {"found": 0}


async def test_questions_are_asked_as_the_role(reads: ReadPool, project: ProjectCtx) -> None:
    alone, in_project = await reads.row(WHO, {}), await reads.row_of(project, WHO, {})

    assert alone == in_project
    assert alone is not None
    assert alone["role"] == API_ROLE


async def test_a_question_changes_nothing(reads: ReadPool, project: ProjectCtx) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await reads.row_of(project, "DELETE FROM segments RETURNING 1 AS one", {})


async def test_a_refused_question_leaves_the_connection_usable(
    reads: ReadPool, project: ProjectCtx
) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        await reads.row_of(project, "SELECT 1 FROM nowhere", {})

    assert await reads.row(SEGMENTS, {}) == {"found": 0}
    assert await reads.row_of(project, SEGMENTS, {}) == {"found": 0}


async def test_connection_that_the_server_closed_is_replaced_unseen(
    reads: ReadPool, database_url: str
) -> None:
    before = await reads.row(WHO, {})
    assert before is not None

    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as admin:
        # Waits until it is gone, for the 1,000 ms that are given at most.
        await admin.execute("SELECT pg_terminate_backend(%s, 1000)", [before["pid"]])
    after = await reads.row(WHO, {})

    assert after is not None
    assert after["pid"] != before["pid"]


async def test_question_that_takes_too_long_is_given_up(reads: ReadPool) -> None:
    with pytest.raises(DatabaseUnavailable):
        await reads.row("SELECT pg_sleep(4)", {})

    assert await reads.row(SEGMENTS, {}) == {"found": 0}


def raise_(error: Exception) -> NoReturn:
    raise error


async def test_who_waits_as_an_attempt_to_connect_is_given_up_waits_for_another(
    reads: ReadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    getconn = reads._pool.getconn
    waits = iter([PoolTimeout()])

    async def given_up_once() -> object:
        return await getconn() if (gives_up := next(waits, None)) is None else raise_(gives_up)

    monkeypatch.setattr(reads._pool, "getconn", given_up_once)

    assert await reads.row(SEGMENTS, {}) == {"found": 0}
    assert list(waits) == []
