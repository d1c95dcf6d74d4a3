"""When a campaign's turn comes to a user, as whoever asks is told."""

from datetime import UTC, date, datetime, time

import pytest

from fanfare.db.engine import Database
from fanfare.entities import Timing
from fanfare.explanations.facts import AudienceVerdict
from fanfare.models import DeliveryMode, ProjectCtx
from fanfare.schedule import DeliveryWindow
from tests.db.audience_scene import AFTER, FROZEN_AT, HOUR, TOMORROW, Scene

SPRING = date(2099, 3, 1)
AT_NINE = Timing(delivery_mode=DeliveryMode.LOCAL_TIME, local_date=SPRING, local_time=time(9))


@pytest.fixture
def scene(database: Database, project: ProjectCtx) -> Scene:
    return Scene(database, project)


async def test_scheduled_campaign_says_when_it_comes(scene: Scene) -> None:
    user = await scene.user()
    campaign = await scene.campaign(timing=Timing(scheduled_at=TOMORROW))

    found = await scene.explain(campaign, user)

    assert found.verdict is AudienceVerdict.NOT_SENT_YET
    assert found.due_at == TOMORROW
    assert "no active device" in found.message


async def test_local_time_comes_by_the_users_clock_or_the_fallback(scene: Scene) -> None:
    timing = Timing(
        delivery_mode=DeliveryMode.LOCAL_TIME,
        local_date=SPRING,
        local_time=time(9),
        timezone_fallback="America/New_York",
    )
    campaign = await scene.campaign(timing=timing)
    in_tokyo, nowhere = await scene.user(timezone="Asia/Tokyo"), await scene.user()

    east, west = await scene.explain(campaign, in_tokyo), await scene.explain(campaign, nowhere)

    assert east.due_at == datetime(2099, 3, 1, 0, tzinfo=UTC)
    assert west.due_at == datetime(2099, 3, 1, 14, tzinfo=UTC)


async def test_local_time_that_has_passed_is_said_to_have(scene: Scene) -> None:
    timing = Timing(
        delivery_mode=DeliveryMode.LOCAL_TIME, local_date=date(2001, 1, 1), local_time=time(9)
    )
    user = await scene.user()
    campaign = await scene.campaign(timing=timing)

    found = await scene.explain(campaign, user)

    assert found.due_at is None
    assert "has passed already in the user's time zone" in found.message


@pytest.mark.parametrize("status", ["sending", "cancelled", "failed"])
async def test_zone_without_a_turn_was_past(scene: Scene, status: str) -> None:
    user = await scene.user(timezone="Asia/Tokyo")
    campaign = await scene.campaign(timing=AT_NINE)
    await scene.freeze(campaign, [])
    await scene.bucket(campaign, ["America/New_York"])
    await scene.set(campaign, status=status)

    found = await scene.explain(campaign, user)

    assert found.verdict is AudienceVerdict.LOCAL_TIME_PASSED
    assert found.due_at is None


async def test_user_that_came_too_late_for_a_past_zone_to_be_accounted_for(scene: Scene) -> None:
    user = await scene.user(created_at=AFTER, timezone="Asia/Tokyo")
    campaign = await scene.campaign(timing=AT_NINE)
    await scene.freeze(campaign, [])
    await scene.set(campaign, status="sent", begun_at=FROZEN_AT)

    found = await scene.explain(campaign, user)

    assert found.verdict is AudienceVerdict.USER_CREATED_LATER


async def test_window_of_a_campaign_sent_by_hand_opens_after_that(scene: Scene) -> None:
    window = DeliveryWindow(time(9), time(17), "UTC")
    user = await scene.user()
    campaign = await scene.campaign(timing=Timing(window=window))
    night = datetime(2099, 3, 1, 3, tzinfo=UTC)

    draft = await scene.explain(campaign, user)
    await scene.set(campaign, status="sending", armed_at=night)
    sending = await scene.explain(campaign, user)

    assert draft.due_at is None
    assert sending.verdict is AudienceVerdict.WAITING_FOR_TURN
    assert sending.due_at == night + 6 * HOUR


async def test_window_says_when_it_opens(scene: Scene) -> None:
    window = DeliveryWindow(time(9), time(17), "UTC")
    night = datetime(2099, 3, 1, 3, tzinfo=UTC)
    user = await scene.user()
    campaign = await scene.campaign(timing=Timing(scheduled_at=night, window=window))

    found = await scene.explain(campaign, user)

    assert found.due_at == night + 6 * HOUR


async def test_user_of_a_later_zone_waits_for_its_turn(scene: Scene) -> None:
    user = await scene.user(timezone="Asia/Tokyo")
    campaign = await scene.campaign(timing=AT_NINE)
    await scene.freeze(campaign, [])
    await scene.bucket(campaign, ["Asia/Tokyo"])

    found = await scene.explain(campaign, user)

    assert found.verdict is AudienceVerdict.WAITING_FOR_TURN
    assert found.due_at == TOMORROW
    assert "not yet to this user" in found.message


async def test_zone_whose_turn_came_is_judged_by_the_freeze_of_its_bucket(scene: Scene) -> None:
    user = await scene.user(created_at=AFTER, timezone="Asia/Tokyo")
    campaign = await scene.campaign(timing=AT_NINE)
    await scene.freeze(campaign, [])
    await scene.bucket(campaign, ["Asia/Tokyo"], frozen_at=AFTER + HOUR, fires_at=AFTER)

    found = await scene.explain(campaign, user)

    assert found.verdict is AudienceVerdict.NO_DEVICE
