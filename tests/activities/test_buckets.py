"""Whose turn it is when, in the database: every device has exactly one, and one end."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.testing import ActivityEnvironment

from activities.campaigns import Campaigns
from activities.stores import Stores
from fanfare.db import audience, buckets, campaigns, controls, shares
from fanfare.db.audience import BatchSizes
from fanfare.db.campaigns import NewCampaign
from fanfare.db.claims import ClaimRefused
from fanfare.db.engine import Database
from fanfare.db.shares import PAST
from fanfare.db.tables import app_users, push_batches, push_campaigns, push_tokens
from fanfare.entities import Bucket, Campaign, Timing
from fanfare.ids import new_id
from fanfare.models import Content, DeliveryMode, PastPolicy, ProjectCtx
from fanfare.schedule import DeliveryWindow, PlannedBucket
from tests.activities.passes import run
from tests.activities.scene import FakeProvider, attempt, campaign, devices, stats
from workflows.stubs import CampaignKey, FinishInput, Plan

SIZES = BatchSizes(batch=10, canary=2)
HOUR = timedelta(hours=1)
NOW = datetime.now(UTC)

BERLIN, PARIS, NEW_YORK, TOKYO = "Europe/Berlin", "Europe/Paris", "America/New_York", "Asia/Tokyo"
LOCAL = Timing(
    delivery_mode=DeliveryMode.LOCAL_TIME,
    local_date=date(2027, 6, 1),
    local_time=time(9),
    timezone_fallback=TOKYO,
)
PATIENT = replace(LOCAL, past_policy=PastPolicy.SEND_NOW)
TURNS = (
    PlannedBucket(NOW - 3 * HOUR, None, (TOKYO,)),
    PlannedBucket(NOW - 2 * HOUR, None, (BERLIN, PARIS)),
    PlannedBucket(NOW - HOUR, None, (NEW_YORK,)),
)
OPEN = DeliveryWindow((NOW - HOUR).time(), (NOW + HOUR).time(), "UTC")
CLOSED = DeliveryWindow((NOW + HOUR).time(), (NOW + 2 * HOUR).time(), "UTC")
ALWAYS = DeliveryWindow(time(0), time(0), None)

# What holds a freeze back in the middle of its statement.
BOLT = 20_270_601


async def people(
    database: Database, project: ProjectCtx, zones: Sequence[str | None]
) -> Sequence[int]:
    """A user with one device in each of these zones. Returns the token ids."""
    ids = list(await devices(database, project, len(zones)))
    for number, zone in enumerate(zones):
        await move(database, project, f"user-{number}", zone)
    return ids


async def move(database: Database, project: ProjectCtx, user: str, zone: str | None) -> None:
    theirs = (app_users.c.project_id == project.project_id) & (app_users.c.external_id == user)
    async with database.transaction() as conn:
        await conn.execute(sa.update(app_users).where(theirs).values(timezone=zone))


async def begun(
    database: Database,
    project: ProjectCtx,
    timing: Timing,
    turns: Sequence[PlannedBucket] = TURNS,
) -> Campaign:
    """A campaign that is sending, and planned."""
    new = NewCampaign("a campaign", Content("Hi", "There", {}), timing=replace(timing))
    async with database.transaction() as conn:
        made = await campaigns.create(conn, project, new)
        sending = await campaigns.begin(conn, project, made.id, revision=None)
        assert sending is not None
        await buckets.plan(conn, sending, turns, NOW)
    return sending


async def freeze(database: Database, sending: Campaign, *numbers: int) -> None:
    for number in numbers:
        async with database.transaction() as conn:
            await audience.freeze(conn, sending, sa.true(), SIZES, bucket=number)


async def freeze_past(database: Database, sending: Campaign) -> None:
    async with database.transaction() as conn:
        await audience.freeze_past(conn, sending, sa.true(), SIZES)


async def audiences(database: Database, sending: Campaign) -> Mapping[int, Sequence[int]]:
    """The devices of each bucket that has some, by token id."""
    token = sa.func.unnest(push_batches.c.token_ids)
    query = sa.select(push_batches.c.bucket, token).where(push_batches.c.campaign_id == sending.id)
    found: dict[int, list[int]] = {}
    async with database.transaction() as conn:
        for bucket, token_id in await conn.execute(query):
            found.setdefault(bucket, []).append(token_id)
    return {bucket: sorted(ids) for bucket, ids in found.items()}


async def planned(database: Database, sending: Campaign) -> Sequence[Bucket]:
    async with database.transaction() as conn:
        return await buckets.all_of(conn, sending)


def key_of(sending: Campaign) -> CampaignKey:
    return CampaignKey(project_id=sending.project_id, campaign_id=sending.id)


def finish_of(sending: Campaign) -> FinishInput:
    return FinishInput(**dict(key_of(sending)))


class TestShare:
    async def test_users_are_in_the_bucket_of_their_zone_or_of_the_fallback(
        self, database: Database, project: ProjectCtx
    ) -> None:
        zones = [BERLIN, NEW_YORK, None, "Mars/Olympus_Mons", PARIS, TOKYO]
        berlin, new_york, nowhere, mars, paris, tokyo = await people(database, project, zones)
        sending = await begun(database, project, LOCAL)

        await freeze(database, sending, 0, 1, 2)

        found = await audiences(database, sending)
        assert found == {0: [nowhere, mars, tokyo], 1: [berlin, paris], 2: [new_york]}

    async def test_window_of_the_users_freezes_all_at_once_each_in_their_bucket(
        self, database: Database, project: ProjectCtx
    ) -> None:
        berlin, nowhere = await people(database, project, [BERLIN, None])
        timing = Timing(scheduled_at=NOW, window=ALWAYS, timezone_fallback=NEW_YORK)
        sending = await begun(database, project, timing)

        await freeze(database, sending, 2)

        assert await audiences(database, sending) == {1: [berlin], 2: [nowhere]}
        assert all(bucket.frozen_at for bucket in await planned(database, sending))

    @pytest.mark.parametrize(("timing", "bucket"), [(LOCAL, PAST), (PATIENT, 2)])
    async def test_who_moves_where_the_turn_was_is_in_once(
        self, database: Database, project: ProjectCtx, timing: Timing, bucket: int
    ) -> None:
        """Skipped as past, or taken along later, as the campaign says."""
        berlin, mover, new_york = await people(database, project, [BERLIN, NEW_YORK, NEW_YORK])
        sending = await begun(database, project, timing)

        await freeze(database, sending, 0, 1)
        await move(database, project, "user-1", PARIS)
        await freeze(database, sending, 2)
        await freeze_past(database, sending)

        found = await audiences(database, sending)
        assert mover in found[bucket]
        assert sorted(chain.from_iterable(found.values())) == [berlin, mover, new_york]

    @pytest.mark.parametrize("timing", [LOCAL, PATIENT], ids=["skip", "send_now"])
    async def test_who_moves_where_the_turn_will_be_has_no_second_one(
        self, database: Database, project: ProjectCtx, timing: Timing
    ) -> None:
        mover, new_york = await people(database, project, [BERLIN, NEW_YORK])
        sending = await begun(database, project, timing)

        await freeze(database, sending, 0, 1)
        await move(database, project, "user-0", NEW_YORK)
        await freeze(database, sending, 2)
        await freeze_past(database, sending)

        assert await audiences(database, sending) == {1: [mover], 2: [new_york]}

    async def test_second_freeze_gives_the_same_lanes(
        self, database: Database, project: ProjectCtx
    ) -> None:
        await people(database, project, [BERLIN] * 5 + [NEW_YORK] * 3)
        sending = await begun(database, project, LOCAL)
        await freeze(database, sending, 1, 2)
        before = await audiences(database, sending)

        await move(database, project, "user-5", BERLIN)
        async with database.transaction() as conn:
            again = await audience.freeze(conn, sending, sa.true(), SIZES, bucket=1)

        assert again.audience == 5
        assert [(lane.first, lane.end) for lane in again.lanes] == [(0, 2)]
        assert await audiences(database, sending) == before

    async def test_who_is_in_already_is_not_looked_up_device_by_device(
        self, database: Database, project: ProjectCtx
    ) -> None:
        await people(database, project, [BERLIN] * 3)
        sending = await begun(database, project, PATIENT)

        async with database.transaction() as conn:
            # What it sets for the statement lasts as long as its transaction.
            await audience.freeze(conn, sending, sa.true(), SIZES, bucket=1)
            plan = await _explained(conn, sending, bucket=2)

        assert "Anti Join" in plan
        assert "Nested Loop" not in plan


class TestFinish:
    async def test_who_had_no_turn_is_accounted_for_as_past_and_nobody_else(
        self, database: Database, stores: Stores, project: ProjectCtx
    ) -> None:
        await people(database, project, [BERLIN, NEW_YORK, TOKYO])
        sending = await begun(database, project, LOCAL, TURNS[1:2])
        await freeze(database, sending, 0)
        await _register(database, project, NEW_YORK)
        await run(await attempt(stores, sending, FakeProvider()))

        await ActivityEnvironment().run(Campaigns(stores).finish, finish_of(sending))
        await ActivityEnvironment().run(Campaigns(stores).finish, finish_of(sending))

        counts = await stats(database, sending)
        assert (counts.audience, counts.sent, counts.pending) == (3, 1, 0)
        assert counts.skipped_by == {"past": 2}


class TestPlan:
    async def test_second_plan_changes_nothing(
        self, database: Database, project: ProjectCtx
    ) -> None:
        sending = await begun(database, project, LOCAL)
        before = await planned(database, sending)

        async with database.transaction() as conn:
            left = await buckets.plan(conn, sending, TURNS, NOW)

        assert left == before == await planned(database, sending)
        assert [bucket.number for bucket in before] == [0, 1, 2]

    async def test_another_plan_keeps_what_is_frozen_and_numbers_the_rest_anew(
        self, database: Database, project: ProjectCtx
    ) -> None:
        await people(database, project, [TOKYO])
        sending = await begun(database, project, LOCAL)
        await freeze(database, sending, 0)
        moved = [replace(turn, fires_at=turn.fires_at + HOUR) for turn in TURNS]

        async with database.transaction() as conn:
            left = await buckets.plan(conn, sending, moved, NOW)

        assert [(bucket.number, bucket.fires_at) for bucket in left] == [
            (0, TURNS[0].fires_at),
            (3, moved[1].fires_at),
            (4, moved[2].fires_at),
        ]

    async def test_change_of_the_time_drops_what_has_not_begun(
        self, database: Database, project: ProjectCtx
    ) -> None:
        scheduled = await _scheduled(database, project)

        async with database.transaction() as conn:
            held = await controls.hold(conn, project, scheduled.id)
            instant = Timing(scheduled_at=NOW + 24 * HOUR)
            await controls.edit(conn, held, replace(NewCampaign.of(held), timing=instant))

        assert await planned(database, scheduled) == []

    async def test_plan_is_made_of_the_row_as_it_is_when_nobody_changes_it(
        self, database: Database, stores: Stores, project: ProjectCtx
    ) -> None:
        scheduled = await _scheduled(database, project)

        async with database.transaction() as conn:
            held = await controls.hold(conn, project, scheduled.id)
            planning = asyncio.create_task(_plan(stores, scheduled))
            await _until_waiting(database, "tuple", "transactionid")
            instant = Timing(scheduled_at=NOW + 24 * HOUR)
            await controls.edit(conn, held, replace(NewCampaign.of(held), timing=instant))
        found = await planning

        assert (found.buckets, found.revision) == ([], 1)
        assert await planned(database, scheduled) == []

    async def test_campaign_that_was_removed_has_no_plan(
        self, stores: Stores, project: ProjectCtx
    ) -> None:
        gone = CampaignKey(project_id=project.project_id, campaign_id=new_id())

        found = await ActivityEnvironment().run(Campaigns(stores).plan, gone)

        assert found == Plan(buckets=[], revision=None)


class TestWindow:
    @pytest.mark.parametrize(("window", "sent"), [(OPEN, 3), (CLOSED, 0)], ids=["open", "closed"])
    async def test_that_is_added_to_a_frozen_campaign_counts_for_its_claims(
        self,
        database: Database,
        stores: Stores,
        project: ProjectCtx,
        window: DeliveryWindow,
        sent: int,
    ) -> None:
        await devices(database, project, 3)
        sending = await campaign(database, project)
        windowed = replace(sending, timing=replace(sending.timing, window=window))

        async with database.transaction() as conn:
            [bucket] = await buckets.plan(conn, windowed, (), datetime.now(UTC))
        provider = FakeProvider()
        await asyncio.gather(run(await attempt(stores, sending, provider)), return_exceptions=True)

        assert (bucket.number, bucket.timezones, bucket.frozen_at is None) == (0, None, False)
        assert len(provider.asked) == sent

    async def test_that_is_taken_away_lets_everything_go(
        self, database: Database, stores: Stores, project: ProjectCtx
    ) -> None:
        await devices(database, project, 3)
        sending = await campaign(database, project)
        windowed = replace(sending, timing=replace(sending.timing, window=CLOSED))

        async with database.transaction() as conn:
            await buckets.plan(conn, windowed, (), datetime.now(UTC))
        with pytest.raises(ClaimRefused):
            await run(await attempt(stores, sending, FakeProvider()))
        async with database.transaction() as conn:
            [bucket] = await buckets.plan(conn, sending, (), datetime.now(UTC))
        counts = await run(await attempt(stores, sending, FakeProvider()))

        assert bucket.closes_at is None
        assert counts.sent == 3


class TestFreeze:
    async def test_under_way_holds_up_neither_claims_nor_a_pause(
        self, database: Database, stores: Stores, project: ProjectCtx
    ) -> None:
        await people(database, project, [TOKYO, BERLIN])
        sending = await begun(database, project, LOCAL)
        await freeze(database, sending, 0)

        async with database.transaction() as bolt:
            await bolt.execute(sa.select(sa.func.pg_advisory_xact_lock(BOLT)))
            freezing = asyncio.create_task(_freeze_behind_the_bolt(database, sending))
            await _until_waiting(database, "advisory")
            counts = await run(await attempt(stores, sending, FakeProvider()))
            async with database.transaction() as conn:
                await conn.execute(sa.text("SET LOCAL lock_timeout = '2s'"))
                paused = await controls.pause(conn, project, sending.id)
            is_under_way = not freezing.done()
        await freezing

        assert is_under_way
        assert counts.sent == 1
        assert paused.paused_at is not None
        assert (await audiences(database, sending)).keys() == {0, 1}


async def _freeze_behind_the_bolt(database: Database, sending: Campaign) -> None:
    waits = sa.text(f"(SELECT pg_advisory_xact_lock({BOLT}) IS NOT NULL)")
    async with database.transaction() as conn:
        rule: sa.ColumnElement[bool] = sa.literal_column(str(waits), sa.Boolean)
        await audience.freeze(conn, sending, rule, SIZES, bucket=1)


async def _until_waiting(database: Database, *kinds: str) -> None:
    """Return when somebody waits for a lock of one of these kinds."""
    query = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = ANY(:kinds)")
    async with asyncio.timeout(30):
        while not await _count(database, query.bindparams(kinds=list(kinds))):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def _count(database: Database, query: sa.TextClause) -> int:
    async with database.transaction() as conn:
        return int((await conn.execute(query)).scalar_one())


async def _explained(conn: AsyncConnection, sending: Campaign, *, bucket: int) -> str:
    """How PostgreSQL would freeze the bucket."""
    statement = audience._freezing(sending, shares.of_bucket(sending, bucket), sa.true(), SIZES)
    compiled = statement.compile(dialect=conn.dialect, compile_kwargs={"literal_binds": True})
    rows = await conn.exec_driver_sql(f"EXPLAIN {compiled}".replace("%", "%%"))
    return "\n".join(rows.scalars())


async def _register(database: Database, project: ProjectCtx, zone: str) -> None:
    """Somebody who was not there when the campaign began."""
    user = {"project_id": project.project_id, "id": new_id(), "external_id": "new"}
    token = {
        "project_id": project.project_id,
        "app_user_id": user["id"],
        "token": "f" * 64,
        "platform": "ios",
        "provider": "apns",
        "environment": "production",
    }
    async with database.transaction() as conn:
        await conn.execute(sa.insert(app_users).values(**user, timezone=zone))
        await conn.execute(sa.insert(push_tokens).values(token))


async def _scheduled(database: Database, project: ProjectCtx) -> Campaign:
    """One that waits for its local time, and is planned."""
    tomorrow = replace(LOCAL, local_date=(NOW + 48 * HOUR).date())
    new = NewCampaign("a campaign", Content("Hi", "There", {}), timing=tomorrow)
    async with database.transaction() as conn:
        made = await campaigns.create(conn, project, new)
        await conn.execute(
            sa.update(push_campaigns).where(push_campaigns.c.id == made.id).values(armed_at=NOW)
        )
        await buckets.plan(conn, made, TURNS, NOW)
    return made


async def _plan(stores: Stores, campaign: Campaign) -> Plan:
    found = await ActivityEnvironment().run(Campaigns(stores).plan, key_of(campaign))
    assert isinstance(found, Plan)
    return found
