"""The table `push_tests`: one-off test pushes, kept only until they are answered.

The targets stand here, and not in a workflow's input, because that would keep device tokens in
Temporal's history.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.tables import push_tests
from fanfare.ids import new_id
from fanfare.models import Content, Lane, ProjectCtx


@dataclass(frozen=True, slots=True)
class TestTarget:
    """A device to reach. `token_id` is None for a token that is not registered."""

    __test__ = False

    lane: Lane
    token: str
    token_id: int | None = None


@dataclass(frozen=True, slots=True)
class TestResult:
    """What became of one device's message, in the order of the targets."""

    __test__ = False

    status: str
    error_code: str | None
    reason: str | None
    provider_message_id: str | None


@dataclass(frozen=True, slots=True)
class PushTest:
    """A test push. `results` is None until it was sent."""

    id: UUID
    content: Content
    targets: Sequence[TestTarget]
    results: Sequence[TestResult] | None


async def create(
    conn: AsyncConnection, project: ProjectCtx, content: Content, targets: Sequence[TestTarget]
) -> UUID:
    """Store a test push. Returns its id."""
    test_id = new_id()
    await conn.execute(
        sa.insert(push_tests).values(
            project_id=project.project_id,
            id=test_id,
            title=content.title,
            body=content.body,
            data=dict(content.data),
            targets=[asdict(target) for target in targets],
        )
    )
    return test_id


async def get(conn: AsyncConnection, project: ProjectCtx, test_id: UUID) -> PushTest | None:
    """One test push, None where it is gone."""
    row = (await conn.execute(sa.select(push_tests).where(*_is(project, test_id)))).mappings()
    values = row.one_or_none()
    if values is None:
        return None
    results = values["results"]
    return PushTest(
        id=values["id"],
        content=Content(values["title"], values["body"], values["data"]),
        targets=[
            TestTarget(Lane(target["lane"]), target["token"], target["token_id"])
            for target in values["targets"]
        ],
        results=None if results is None else [TestResult(**result) for result in results],
    )


async def answer(
    conn: AsyncConnection, project: ProjectCtx, test_id: UUID, results: Sequence[TestResult]
) -> None:
    """Store an answer per target."""
    values = {"results": [asdict(result) for result in results]}
    await conn.execute(sa.update(push_tests).where(*_is(project, test_id)).values(values))


async def delete(conn: AsyncConnection, project: ProjectCtx, test_id: UUID) -> None:
    """Forget a test push, and the tokens in it."""
    await conn.execute(sa.delete(push_tests).where(*_is(project, test_id)))


async def delete_before(conn: AsyncConnection, moment: datetime) -> None:
    """Forget the test pushes that nobody fetched."""
    await conn.execute(sa.delete(push_tests).where(push_tests.c.created_at < moment))


def _is(project: ProjectCtx, test_id: UUID) -> tuple[sa.ColumnElement[bool], ...]:
    return push_tests.c.project_id == project.project_id, push_tests.c.id == test_id
