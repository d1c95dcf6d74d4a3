"""While Temporal is away: what is under way is controlled all the same; nothing new begins."""

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from fanfare.db import controls
from fanfare.db.campaigns import NewCampaign
from fanfare.db.engine import Database
from tests.api.campaigning import AT, Desk, Json, data_of, result_of
from tests.api.conftest import Tenant

LATER = "2027-04-21T09:00:00Z"
WINDOW = {"start": "09:00", "end": "21:00", "timezone": "Europe/Berlin"}
ACCEPTED = (202, None)
REMOVED = (204, None)


@pytest.fixture
def desk(tenant: Tenant, database: Database) -> Desk:
    return Desk(tenant, database)


@pytest.fixture
def away(desk: Desk, app: FastAPI) -> Desk:
    return desk.without_temporal(app)


@pytest.mark.parametrize(
    ("state", "verb"),
    [
        ("scheduled", "pause"),
        ("sending", "pause"),
        ("paused scheduled", "resume"),
        ("paused sending", "resume"),
        ("scheduled", "cancel"),
        ("paused sending", "cancel"),
    ],
)
async def test_without_temporal_a_verb_is_done_and_left_to_be_told(
    desk: Desk, away: Desk, state: str, verb: str
) -> None:
    campaign = await desk.campaign_in(state)

    answer = await away.act(campaign, verb)

    assert result_of(answer) == ACCEPTED
    assert data_of(answer) == await desk.seen(campaign)
    row = await desk.row(campaign)
    assert row is not None
    assert row["revision"] > row["heard_revision"]


@pytest.mark.parametrize(
    "fields",
    [{"scheduled_at": LATER}, {"scheduled_at": None}, {"title": "New"}, {"rate_limit": 1}],
)
async def test_without_temporal_a_scheduled_campaign_is_changed_and_left_to_be_told(
    desk: Desk, away: Desk, fields: Json
) -> None:
    campaign = await desk.campaign_in("scheduled")

    changed = data_of(await away.change(campaign, **fields))

    assert {**changed, **fields} == changed
    row = await desk.row(campaign)
    assert row is not None
    assert row["revision"] > row["heard_revision"]


@pytest.mark.parametrize("state", ["draft", "scheduled", "paused scheduled"])
async def test_without_temporal_a_campaign_is_removed(desk: Desk, away: Desk, state: str) -> None:
    campaign = await desk.campaign_in(state)

    answer = await away.client.delete(f"/admin/push/{campaign['id']}")

    assert result_of(answer) == REMOVED
    assert await desk.row(campaign) is None


@pytest.mark.parametrize("state", ["draft", "failed"])
async def test_without_temporal_nothing_is_sent_and_the_campaign_is_as_it_was(
    desk: Desk, away: Desk, state: str
) -> None:
    campaign = await desk.campaign_in(state)

    answer = await away.act(campaign, "send")

    assert result_of(answer) == (503, "TEMPORAL_UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0
    assert _but_updated(await desk.seen(campaign)) == _but_updated(campaign)
    assert result_of(await desk.act(campaign, "send")) == ACCEPTED


@pytest.mark.parametrize(
    "fields",
    [
        {"scheduled_at": AT},
        {"delivery_mode": "local_time", "local_date": "2027-04-20", "local_time": "09:00"},
        {"scheduled_at": AT, "title": "New", "body": "New", "data": {"new": 1}},
        {"scheduled_at": AT, "rate_limit": 5, "delivery_window": None, "max_lateness": "2h"},
        {
            "scheduled_at": AT,
            "segment_id": "seg_active_7d",
            "expires_at": LATER,
            "on_unknown": "skip",
        },
    ],
)
async def test_without_temporal_nothing_is_scheduled_and_the_draft_is_as_it_was(
    desk: Desk, away: Desk, fields: Json
) -> None:
    campaign = await desk.create(rate_limit=9, delivery_window=WINDOW, data={"old": True})

    answer = await away.change(campaign, **fields)

    assert result_of(answer) == (503, "TEMPORAL_UNAVAILABLE")
    assert _but_updated(await desk.seen(campaign)) == _but_updated(campaign)
    assert data_of(await desk.change(campaign, **fields))["status"] == "scheduled"


async def test_without_temporal_a_draft_that_was_scheduled_is_not_scheduled_again(
    desk: Desk, away: Desk
) -> None:
    campaign = await desk.campaign_in("scheduled")
    draft = data_of(await away.change(campaign, scheduled_at=None))

    answer = await away.change(draft, scheduled_at=LATER)

    assert result_of(answer) == (503, "TEMPORAL_UNAVAILABLE")
    assert _but_updated(await desk.seen(campaign)) == _but_updated(draft)


async def test_without_temporal_a_send_that_is_taken_back_undoes_no_change_of_meanwhile(
    desk: Desk, away: Desk
) -> None:
    campaign = await desk.create()

    async with desk.database.transaction() as conn:
        before = await controls.hold(conn, desk.project, UUID(campaign["id"]))
        sending = asyncio.ensure_future(away.act(campaign, "send"))
        await _until_somebody_waits(desk)
        await controls.edit(conn, before, replace(NewCampaign.of(before), rate_limit=5))

    assert (await sending).status_code == 503
    assert (await desk.seen(campaign))["rate_limit"] == 5


async def _until_somebody_waits(desk: Desk) -> None:
    """For a row that another transaction holds; ten seconds at most."""
    waiting = sa.text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    async with asyncio.timeout(10), desk.database.transaction() as conn:
        while not (await conn.execute(waiting)).scalar_one():
            pass


async def test_without_temporal_a_draft_is_edited(desk: Desk, away: Desk) -> None:
    campaign = await desk.create()

    assert data_of(await away.change(campaign, title="New"))["title"] == "New"


def _but_updated(campaign: Json) -> Json:
    return {name: value for name, value in campaign.items() if name != "updated_at"}
