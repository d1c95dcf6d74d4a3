"""Attempts at a batch as a worker makes them, and the time that passes between them."""

import sqlalchemy as sa
from temporalio.testing import ActivityEnvironment

from activities.delivery import (
    CLAIM_SIZE,
    BatchPass,
)
from fanfare.db.batches import BatchCounts
from fanfare.db.engine import Database
from fanfare.db.tables import push_owed, push_tokens
from fanfare.models import (
    ProjectCtx,
)
from tests.activities.scene import (
    FreePace,
)


async def run(work: BatchPass) -> BatchCounts:
    """Run an attempt as a worker does. Returns how far the batch is then."""
    passed = await ActivityEnvironment().run(work.run)
    assert isinstance(work.pace, FreePace)
    assert work.pace.out == 0
    return passed.counts


async def claim_and_die(work: BatchPass) -> None:
    """Be the worker that is killed after its first claim: the ledger cannot tell when exactly."""
    await ActivityEnvironment().run(work._claim, CLAIM_SIZE)


async def make_due(database: Database, project: ProjectCtx) -> None:
    """Let the time pass that owed messages wait."""
    async with database.transaction() as conn:
        await conn.execute(
            sa.update(push_owed)
            .where(push_owed.c.project_id == project.project_id)
            .values(due_at=sa.func.now())
        )


async def active(database: Database, project: ProjectCtx) -> set[int]:
    """The ids of the tokens that are still active."""
    query = sa.select(push_tokens.c.id).where(
        push_tokens.c.project_id == project.project_id, push_tokens.c.is_active
    )
    async with database.transaction() as conn:
        return set((await conn.execute(query)).scalars())
