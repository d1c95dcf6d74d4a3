"""Claims of keys that are older than their claims' ids."""

import sqlalchemy as sa

from fanfare.db import idempotency
from fanfare.db.engine import Database
from fanfare.db.idempotency import Claim
from fanfare.db.tables import idempotency_keys
from fanfare.ids import new_id
from fanfare.models import ProjectCtx

HASH = b"h" * 32


async def test_claim_without_an_id_can_be_taken_over(
    database: Database, project: ProjectCtx
) -> None:
    of_project = idempotency_keys.c.project_id == project.project_id
    older = {"claim_id": None, "locked_until": sa.func.now() - sa.text("interval '1 second'")}
    async with database.transaction() as conn:
        await idempotency.claim(conn, project, "a", HASH, new_id())
        await conn.execute(sa.update(idempotency_keys).where(of_project).values(older))

    fresh_id = new_id()
    async with database.transaction() as conn:
        taken = await idempotency.claim(conn, project, "a", HASH, fresh_id)

    assert isinstance(taken, Claim)
    assert (taken.claim_id, taken.is_takeover) == (fresh_id, False)


async def test_claim_that_was_taken_over_keeps_its_new_id(
    database: Database, project: ProjectCtx
) -> None:
    first_id, ended = new_id(), {"locked_until": sa.func.now() - sa.text("interval '1 second'")}
    of_project = idempotency_keys.c.project_id == project.project_id
    async with database.transaction() as conn:
        await idempotency.claim(conn, project, "a", HASH, first_id)
        await conn.execute(sa.update(idempotency_keys).where(of_project).values(ended))

    async with database.transaction() as conn:
        taken = await idempotency.claim(conn, project, "a", HASH, new_id())

    assert isinstance(taken, Claim)
    assert (taken.claim_id, taken.is_takeover) == (first_id, True)
