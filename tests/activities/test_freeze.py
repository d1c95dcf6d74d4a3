"""Freezing an audience: every device of the audience in exactly one batch, once and for all."""

import sqlalchemy as sa

from fanfare.db import audience
from fanfare.db.audience import BatchSizes, LaneBatches
from fanfare.db.engine import Database
from fanfare.db.tables import app_users, push_batches, push_campaigns, push_tokens
from fanfare.entities import Campaign
from fanfare.models import Lane, ProjectCtx
from tests.activities.scene import campaign, devices

SIZES = BatchSizes(batch=10, canary=20)


async def _batches(database: Database, frozen: Campaign) -> list[tuple[int, str, list[int]]]:
    columns = push_batches.c
    query = (
        sa.select(columns.number, columns.lane, columns.token_ids)
        .where(columns.campaign_id == frozen.id)
        .order_by(columns.number)
    )
    async with database.transaction() as conn:
        return [(number, lane, ids) for number, lane, ids in await conn.execute(query)]


async def _to_lane(
    database: Database, project: ProjectCtx, ids: list[int], provider: str, environment: str
) -> None:
    values = {"provider": provider, "environment": environment}
    condition = (push_tokens.c.project_id == project.project_id) & push_tokens.c.id.in_(ids)
    async with database.transaction() as conn:
        await conn.execute(sa.update(push_tokens).where(condition).values(values))


async def test_batches_are_full_and_hold_every_device_once(
    database: Database, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 45)

    frozen = await campaign(database, project, sizes=SIZES)

    found = await _batches(database, frozen)
    assert [len(tokens) for _, _, tokens in found] == [20, 10, 10, 5]
    assert [token for _, _, tokens in found for token in tokens] == list(ids)


async def test_each_lane_has_a_run_of_numbers(database: Database, project: ProjectCtx) -> None:
    ids = list(await devices(database, project, 55))
    await _to_lane(database, project, ids[:22], "fcm", "production")
    await _to_lane(database, project, ids[22:25], "apns", "sandbox")

    frozen = await campaign(database, project, sizes=SIZES)

    async with database.transaction() as conn:
        known = await audience.frozen(conn, frozen, 0)
    assert known.audience == 55
    assert known.lanes == [
        LaneBatches(Lane.APNS, 0, 2),
        LaneBatches(Lane.APNS_SANDBOX, 2, 3),
        LaneBatches(Lane.FCM, 3, 5),
    ]
    assert [lane for _, lane, _ in await _batches(database, frozen)] == [
        "apns",
        "apns",
        "apns-sandbox",
        "fcm",
        "fcm",
    ]


async def test_a_second_freeze_changes_nothing(database: Database, project: ProjectCtx) -> None:
    await devices(database, project, 5)
    frozen = await campaign(database, project)
    before = await _batches(database, frozen)

    async with database.transaction() as conn:
        await conn.execute(
            sa.update(push_tokens)
            .where(push_tokens.c.project_id == project.project_id)
            .values(is_active=False)
        )
        again = await audience.freeze(conn, frozen, sa.true(), SIZES)

    assert again.audience == 5
    assert await _batches(database, frozen) == before


async def test_only_active_devices_of_matching_users_of_the_project(
    database: Database, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 4)
    async with database.transaction() as conn:
        off = sa.update(push_tokens).where(push_tokens.c.id == ids[0]).values(is_active=False)
        await conn.execute(off)
    draft = await campaign(database, project)
    rule = app_users.c.external_id.in_(["user-0", "user-1", "user-2"])

    async with database.transaction() as conn:
        await conn.execute(sa.delete(push_batches).where(push_batches.c.campaign_id == draft.id))
        unfreeze = sa.update(push_campaigns).where(push_campaigns.c.id == draft.id)
        await conn.execute(unfreeze.values(frozen_at=None))
        frozen = await audience.freeze(conn, draft, rule, SIZES)

    assert frozen.audience == 2
    assert [tokens for _, _, tokens in await _batches(database, draft)] == [[ids[1], ids[2]]]
