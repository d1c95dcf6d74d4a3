"""The snapshot of who is in which segment, on a real database."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import segments as segment_activities
from activities.segments import Segments
from activities.stores import Stores
from fanfare.db import memberships, segments, users
from fanfare.db.engine import Database
from fanfare.db.memberships import Refreshed
from fanfare.db.segments import NewSegment, SegmentPatch
from fanfare.db.tables import app_users, push_batches, push_tokens, segment_memberships
from fanfare.db.tables import segments as segments_table
from fanfare.db.users import UserPatch
from fanfare.entities import Campaign, Segment
from fanfare.models import ProjectCtx
from tests.activities.scene import devices
from tests.activities.test_campaigns import a_credential, freeze, unfrozen
from tests.workflows.refreshing import eventually
from workflows.stubs import SegmentCounts, SegmentKey, SegmentPage

PRO = {"field": "properties.plan", "op": "eq", "value": "pro"}
FREE = {"field": "properties.plan", "op": "neq", "value": "pro"}


async def people(database: Database, project: ProjectCtx, **plans: str) -> None:
    patches = [UserPatch(name, {}, {"plan": plan}) for name, plan in plans.items()]
    async with database.transaction() as conn:
        await users.upsert(conn, project, patches)


async def a_segment(
    database: Database,
    project: ProjectCtx,
    rules: Mapping[str, object] = PRO,
    segment_id: str = "seg_pro",
) -> Segment:
    async with database.transaction() as conn:
        return await segments.create(conn, project, NewSegment("a segment", rules, id=segment_id))


async def refresh(
    database: Database, project: ProjectCtx, segment_id: str = "seg_pro"
) -> SegmentCounts:
    key = SegmentKey(project_id=project.project_id, segment_id=segment_id)
    counts = await ActivityEnvironment().run(Segments(database).refresh_segment, key)
    assert isinstance(counts, SegmentCounts)
    return counts


async def members(
    database: Database, project: ProjectCtx, segment_id: str = "seg_pro"
) -> Mapping[str, datetime]:
    """Who is in the snapshot, by external id, and since when."""
    columns = segment_memberships.c
    same = (app_users.c.project_id == columns.project_id) & (app_users.c.id == columns.app_user_id)
    query = (
        sa.select(app_users.c.external_id, columns.entered_at)
        .join_from(segment_memberships, app_users, same)
        .where(columns.project_id == project.project_id, columns.segment_id == segment_id)
    )
    async with database.transaction() as conn:
        return {row.external_id: row.entered_at for row in await conn.execute(query)}


async def rows(database: Database, project: ProjectCtx) -> int:
    condition = segment_memberships.c.project_id == project.project_id
    async with database.transaction() as conn:
        return int((await conn.execute(sa.select(sa.func.count()).where(condition))).scalar_one())


async def stored(database: Database, project: ProjectCtx, segment_id: str = "seg_pro") -> Segment:
    async with database.transaction() as conn:
        return await segments.get(conn, project, segment_id)


async def set_rules(database: Database, project: ProjectCtx, rules: Mapping[str, object]) -> None:
    """Past every check, as an older version may have left them."""
    statement = sa.update(segments_table).where(
        segments_table.c.project_id == project.project_id, segments_table.c.id == "seg_pro"
    )
    async with database.transaction() as conn:
        await conn.execute(statement.values(rules=rules))


async def test_a_refresh_notes_who_matches_and_how_many(
    database: Database, project: ProjectCtx
) -> None:
    await people(database, project, ada="pro", bob="free", cem="pro")
    made = await a_segment(database, project)

    counts = await refresh(database, project)

    found = await stored(database, project)
    assert counts == SegmentCounts(users=2, entered=2, left=0)
    assert (await members(database, project)).keys() == {"ada", "cem"}
    assert (made.user_count, made.last_evaluated_at) == (None, None)
    assert found.user_count == 2
    assert found.last_evaluated_at is not None
    assert found.updated_at == made.updated_at


async def test_who_stays_keeps_the_time_of_entering(
    database: Database, project: ProjectCtx
) -> None:
    await people(database, project, ada="pro", bob="pro")
    await a_segment(database, project)
    await refresh(database, project)
    before = await members(database, project)

    await people(database, project, bob="free", cem="pro")
    counts = await refresh(database, project)

    after = await members(database, project)
    assert counts == SegmentCounts(users=2, entered=1, left=1)
    assert after.keys() == {"ada", "cem"}
    assert after["ada"] == before["ada"]
    assert after["cem"] > before["ada"]


async def test_who_returns_enters_anew(database: Database, project: ProjectCtx) -> None:
    await people(database, project, ada="pro")
    await a_segment(database, project)
    await refresh(database, project)
    before = await members(database, project)

    await people(database, project, ada="free")
    await refresh(database, project)
    await people(database, project, ada="pro")
    await refresh(database, project)

    assert (await members(database, project))["ada"] > before["ada"]


async def test_a_second_refresh_writes_no_row(database: Database, project: ProjectCtx) -> None:
    await people(database, project, ada="pro", bob="pro")
    await a_segment(database, project)
    await refresh(database, project)
    before = await members(database, project)

    counts = await refresh(database, project)

    assert counts == SegmentCounts(users=2, entered=0, left=0)
    assert await members(database, project) == before


async def test_two_refreshes_at_once_agree(database: Database, project: ProjectCtx) -> None:
    await people(database, project, **{f"user{number}": "pro" for number in range(300)})
    await a_segment(database, project)

    both = await asyncio.gather(refresh(database, project), refresh(database, project))

    assert sorted(counts.entered for counts in both) == [0, 300]
    assert await rows(database, project) == 300


async def test_who_is_seen_while_a_refresh_waits_stays(
    database: Database, project: ProjectCtx
) -> None:
    week = {"field": "last_seen_at", "op": "within", "value": "7d"}
    await people(database, project, ada="pro")
    await seen_now(database, project)
    await a_segment(database, project, week)
    await refresh(database, project)
    before = await members(database, project)

    async with database.transaction() as conn:
        await memberships.lock(conn, project, "seg_pro")
        waiting = asyncio.create_task(refresh(database, project))
        await eventually(partial(is_waiting, database))
        await seen_now(database, project)
    await waiting

    assert await members(database, project) == before


async def is_waiting(database: Database) -> bool:
    """Whether somebody waits for a refresh to end."""
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with database.transaction() as conn:
        return bool((await conn.execute(sa.text(query))).scalar_one())


async def seen_now(database: Database, project: ProjectCtx) -> None:
    statement = sa.update(app_users).where(app_users.c.project_id == project.project_id)
    async with database.transaction() as conn:
        await conn.execute(statement.values(last_seen_at=sa.func.now()))


async def test_segments_keep_apart(database: Database, project: ProjectCtx) -> None:
    await people(database, project, ada="pro", bob="free")
    await a_segment(database, project)
    await a_segment(database, project, FREE, segment_id="seg_free_plan")

    await refresh(database, project)
    await refresh(database, project, "seg_free_plan")
    await people(database, project, ada="free")
    await refresh(database, project)

    assert await members(database, project) == {}
    assert (await members(database, project, "seg_free_plan")).keys() == {"bob"}


async def test_new_rules_keep_who_matches_both(database: Database, project: ProjectCtx) -> None:
    await people(database, project, ada="pro", bob="team")
    await a_segment(database, project)
    await refresh(database, project)
    before = await members(database, project)
    rules = {"field": "properties.plan", "op": "in", "value": ["pro", "team"]}

    async with database.transaction() as conn:
        changed = await segments.update(conn, project, "seg_pro", SegmentPatch({"rules": rules}))
    await refresh(database, project)

    assert (changed.user_count, changed.last_evaluated_at) == (None, None)
    assert (await members(database, project))["ada"] == before["ada"]
    assert (await stored(database, project)).user_count == 2


async def test_the_same_rules_again_are_no_change(database: Database, project: ProjectCtx) -> None:
    await people(database, project, ada="pro")
    await a_segment(database, project)
    await refresh(database, project)

    async with database.transaction() as conn:
        patch = SegmentPatch({"rules": PRO, "name": "by another name"})
        changed = await segments.update(conn, project, "seg_pro", patch)

    assert (changed.user_count, changed.name) == (1, "by another name")


async def test_what_was_counted_by_other_rules_is_not_noted(
    database: Database, project: ProjectCtx
) -> None:
    seen = await a_segment(database, project)

    async with database.transaction() as conn:
        await segments.update(conn, project, "seg_pro", SegmentPatch({"rules": FREE}))
        is_noted = await segments.note_evaluation(conn, project, seen, Refreshed(5, 5, 0))

    assert not is_noted
    assert (await stored(database, project)).user_count is None


async def test_rules_that_cannot_be_read_leave_the_snapshot(
    database: Database, project: ProjectCtx
) -> None:
    await people(database, project, ada="pro")
    await a_segment(database, project)
    await refresh(database, project)
    before = await stored(database, project)

    await set_rules(database, project, {"field": "gone", "op": "exists"})
    with pytest.raises(ApplicationError) as error:
        await refresh(database, project)

    assert (error.value.type, error.value.non_retryable) == ("INVALID_SEGMENT_RULES", True)
    assert (await members(database, project)).keys() == {"ada"}
    assert (await stored(database, project)).last_evaluated_at == before.last_evaluated_at


async def test_rules_that_take_too_long_are_given_up(
    database: Database, project: ProjectCtx, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_segment(database, project)
    monkeypatch.setattr(segment_activities, "STATEMENT_TIMEOUT", timedelta(milliseconds=50))

    async with database.transaction() as conn:
        await memberships.lock(conn, project, "seg_pro")
        with pytest.raises(ApplicationError) as error:
            await refresh(database, project)

    assert (error.value.type, error.value.non_retryable) == ("SEGMENT_TOO_SLOW", True)


async def test_a_segment_that_was_deleted_needs_no_refresh(
    database: Database, project: ProjectCtx
) -> None:
    assert await refresh(database, project) == SegmentCounts(users=0, entered=0, left=0)


async def test_a_deleted_segment_leaves_no_snapshot(
    database: Database, project: ProjectCtx
) -> None:
    await people(database, project, ada="pro")
    await a_segment(database, project)
    await refresh(database, project)

    async with database.transaction() as conn:
        await segments.delete(conn, project, "seg_pro")

    assert await rows(database, project) == 0


async def test_a_deleted_user_is_in_no_snapshot(database: Database, project: ProjectCtx) -> None:
    await people(database, project, ada="pro", bob="pro")
    await a_segment(database, project)
    await a_segment(
        database, project, {"operator": "AND", "conditions": []}, segment_id="seg_everyone"
    )
    await refresh(database, project)
    await refresh(database, project, "seg_everyone")

    async with database.transaction() as conn:
        await users.delete(conn, project, "ada")

    assert await rows(database, project) == 2
    assert (await members(database, project)).keys() == {"bob"}


async def test_segments_are_listed_page_by_page(database: Database, project: ProjectCtx) -> None:
    _ = [await a_segment(database, project, segment_id=f"seg_{letter}") for letter in "cab"]
    run = ActivityEnvironment().run

    first = await run(Segments(database).list_segments, page(project, after=None))
    rest = await run(Segments(database).list_segments, page(project, after="seg_b"))

    assert [first.ids, rest.ids] == [["seg_a", "seg_b"], ["seg_c"]]


def page(project: ProjectCtx, *, after: str | None) -> SegmentPage:
    return SegmentPage(project_id=project.project_id, after=after, limit=2)


async def test_sending_evaluates_the_rule_and_not_the_snapshot(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await a_credential(database, project)
    await devices(database, project, 3)
    await people(database, project, **{"user-0": "pro", "user-1": "pro", "user-2": "free"})
    await a_segment(database, project)
    await refresh(database, project)

    await people(database, project, **{"user-1": "free", "user-2": "pro"})
    sending = await unfrozen(database, project, segment_id="seg_pro")
    frozen = await freeze(stores, sending)

    assert frozen.size == 2
    assert await audience_of(database, sending) == {"user-0", "user-2"}
    assert (await members(database, project)).keys() == {"user-0", "user-1"}


async def audience_of(database: Database, sending: Campaign) -> set[str]:
    """The external ids of whom the campaign's batches hold."""
    held = sa.select(sa.func.unnest(push_batches.c.token_ids)).where(
        push_batches.c.campaign_id == sending.id
    )
    query = sa.select(app_users.c.external_id).where(
        app_users.c.project_id == push_tokens.c.project_id,
        app_users.c.id == push_tokens.c.app_user_id,
        push_tokens.c.id.in_(held),
    )
    async with database.transaction() as conn:
        return set((await conn.execute(query)).scalars())
