"""Whose audience is frozen when, by real plans and in virtual time.

The moments expected here are those of tests/test_schedule.py: worked out by hand from the rules.
"""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta

import pytest
from temporalio.testing import WorkflowEnvironment

from fanfare.entities import Timing
from fanfare.models import CampaignStatus, DeliveryMode, PastPolicy
from fanfare.schedule import DeliveryWindow
from tests.workflows.fakes import STOPPED, FakeActivities, audience_of
from tests.workflows.planning import Scene, scene, utc
from tests.workflows.running import result, serving, start_by_row, tell, until
from workflows.stubs import BatchResult, Standing

BERLIN, LONDON, NEW_YORK = "Europe/Berlin", "Europe/London", "America/New_York"
SYDNEY, LORD_HOWE, KATHMANDU = "Australia/Sydney", "Australia/Lord_Howe", "Asia/Kathmandu"
ZONES = (NEW_YORK, BERLIN, LONDON, SYDNEY, LORD_HOWE, KATHMANDU)
AUSTRALIA = (LORD_HOWE, SYDNEY)

HOUR = timedelta(hours=1)
DAYTIME_IN_BERLIN = DeliveryWindow(time(9), time(21), BERLIN)


def at_local_time(day: str, at: str, **other: object) -> Timing:
    return Timing(
        delivery_mode=DeliveryMode.LOCAL_TIME,
        local_date=date.fromisoformat(day),
        local_time=time.fromisoformat(at),
        **other,  # type: ignore[arg-type]  # fields of several types
    )


def waiting() -> FakeActivities:
    """A campaign of one batch, to each of its buckets the same."""
    standing = Standing(status=CampaignStatus.SCHEDULED, is_bucketed=True, max_lateness=HOUR)
    return FakeActivities(audience_of(apns=1), standing=standing)


def sending(**batches: int) -> FakeActivities:
    standing = Standing(status=CampaignStatus.SENDING, max_lateness=HOUR)
    return FakeActivities(audience_of(**batches), standing=standing)


def fired(moments: Mapping[tuple[str, ...], str]) -> Mapping[tuple[str, ...], datetime]:
    return {zones: utc(text) for zones, text in moments.items()}


async def play(env: WorkflowEnvironment, campaign: Scene) -> str:
    async with serving(env.client, campaign.fan_out):
        return await result(await start_by_row(env.client, campaign.fan_out))


class TestLocalTime:
    @pytest.mark.parametrize(
        ("armed", "day", "at", "moments"),
        [
            # In New York clocks skip 2:00 to 3:00.
            (
                "2027-03-07",
                "2027-03-14",
                "02:15",
                {
                    AUSTRALIA: "2027-03-13T15:15",
                    (KATHMANDU,): "2027-03-13T20:30",
                    (BERLIN,): "2027-03-14T01:15",
                    (LONDON,): "2027-03-14T02:15",
                    (NEW_YORK,): "2027-03-14T07:00",
                },
            ),
            # In Berlin they do.
            (
                "2027-03-21",
                "2027-03-28",
                "02:15",
                {
                    AUSTRALIA: "2027-03-27T15:15",
                    (KATHMANDU,): "2027-03-27T20:30",
                    (BERLIN,): "2027-03-28T01:00",
                    (LONDON,): "2027-03-28T01:15",
                    (NEW_YORK,): "2027-03-28T06:15",
                },
            ),
            # In Sydney 2:00 to 3:00 comes twice, on Lord Howe 1:30 to 2:00.
            (
                "2027-03-28",
                "2027-04-04",
                "02:15",
                {
                    (SYDNEY,): "2027-04-03T15:15",
                    (LORD_HOWE,): "2027-04-03T15:45",
                    (KATHMANDU,): "2027-04-03T20:30",
                    (BERLIN,): "2027-04-04T00:15",
                    (LONDON,): "2027-04-04T01:15",
                    (NEW_YORK,): "2027-04-04T06:15",
                },
            ),
            # In Sydney clocks skip 2:00 to 3:00, on Lord Howe 2:00 to 2:30.
            (
                "2027-09-26",
                "2027-10-03",
                "02:15",
                {
                    (LORD_HOWE,): "2027-10-02T15:30",
                    (SYDNEY,): "2027-10-02T16:00",
                    (KATHMANDU,): "2027-10-02T20:30",
                    (BERLIN,): "2027-10-03T00:15",
                    (LONDON,): "2027-10-03T01:15",
                    (NEW_YORK,): "2027-10-03T06:15",
                },
            ),
            # In Berlin 2:00 to 3:00 comes twice.
            (
                "2027-10-24",
                "2027-10-31",
                "02:15",
                {
                    AUSTRALIA: "2027-10-30T15:15",
                    (KATHMANDU,): "2027-10-30T20:30",
                    (BERLIN,): "2027-10-31T00:15",
                    (LONDON,): "2027-10-31T02:15",
                    (NEW_YORK,): "2027-10-31T06:15",
                },
            ),
            # In New York 1:00 to 2:00 does.
            (
                "2027-10-31",
                "2027-11-07",
                "01:30",
                {
                    AUSTRALIA: "2027-11-06T14:30",
                    (KATHMANDU,): "2027-11-06T19:45",
                    (BERLIN,): "2027-11-07T00:30",
                    (LONDON,): "2027-11-07T01:30",
                    (NEW_YORK,): "2027-11-07T05:30",
                },
            ),
        ],
    )
    async def test_comes_to_every_zone_when_its_clocks_show_it(
        self,
        skipping_env: WorkflowEnvironment,
        armed: str,
        day: str,
        at: str,
        moments: Mapping[tuple[str, ...], str],
    ) -> None:
        timing = at_local_time(day, at)
        campaign = await scene(skipping_env, waiting(), timing, ZONES, begins=armed)

        ended = await play(skipping_env, campaign)

        assert ended == "sent"
        assert campaign.fired() == fired(moments)

    @pytest.mark.parametrize(
        ("policy", "past"),
        [
            (PastPolicy.SKIP, {}),
            (PastPolicy.SEND_NOW, {(KATHMANDU, LORD_HOWE, SYDNEY): "2027-03-28T05:00"}),
        ],
    )
    async def test_that_is_past_in_some_zones(
        self,
        skipping_env: WorkflowEnvironment,
        policy: PastPolicy,
        past: Mapping[tuple[str, ...], str],
    ) -> None:
        timing = at_local_time("2027-03-28", "09:00", past_policy=policy)
        campaign = await scene(skipping_env, waiting(), timing, ZONES, begins="2027-03-28T05:00")

        ended = await play(skipping_env, campaign)

        left: Mapping[tuple[str, ...], str] = {
            (BERLIN,): "2027-03-28T07:00",
            (LONDON,): "2027-03-28T08:00",
            (NEW_YORK,): "2027-03-28T13:00",
        }
        assert ended == "sent"
        assert campaign.fired() == {**fired(past), **fired(left)}

    async def test_that_is_past_everywhere_is_missed(
        self, skipping_env: WorkflowEnvironment
    ) -> None:
        timing = at_local_time("2027-03-28", "09:00")
        campaign = await scene(skipping_env, waiting(), timing, ZONES, begins="2027-03-28T13:01")

        ended = await play(skipping_env, campaign)

        assert ended == "failed"
        assert campaign.fan_out.ended == [(CampaignStatus.FAILED, "MISSED_SCHEDULE")]
        assert campaign.fired() == {}

    @pytest.mark.parametrize(
        ("policy", "moments"),
        [
            (PastPolicy.SKIP, {(LONDON,): "08:00", (NEW_YORK,): "13:00"}),
            (PastPolicy.SEND_NOW, {(BERLIN,): "10:00", (LONDON,): "08:00", (NEW_YORK,): "13:00"}),
        ],
    )
    async def test_that_passes_while_it_is_paused(
        self,
        skipping_env: WorkflowEnvironment,
        policy: PastPolicy,
        moments: Mapping[tuple[str, ...], str],
    ) -> None:
        """London's passes too, by as much as `max_lateness` lets it."""
        timing = at_local_time(
            "2027-03-28", "09:00", past_policy=policy, max_lateness=timedelta(minutes=150)
        )
        zones = (BERLIN, LONDON, NEW_YORK)
        campaign = await scene(skipping_env, waiting(), timing, zones, begins="2027-03-28T06:00")
        fan_out = campaign.fan_out

        async with serving(skipping_env.client, fan_out):
            handle = await start_by_row(skipping_env.client, fan_out)
            await tell(handle, fan_out, is_paused=True)
            await skipping_env.sleep(timedelta(hours=4))
            await tell(handle, fan_out, is_paused=False, max_lateness=None)
            ended = await result(handle)

        assert ended == "sent"
        assert campaign.fired().keys() == moments.keys()

    async def test_waits_for_a_window_that_goes_over_midnight(
        self, skipping_env: WorkflowEnvironment
    ) -> None:
        window = DeliveryWindow(time(22), time(6), None)
        timing = at_local_time("2027-10-30", "09:00", window=window)
        zones = (BERLIN, NEW_YORK, KATHMANDU)
        campaign = await scene(skipping_env, waiting(), timing, zones, begins="2027-10-29T12:00")

        ended = await play(skipping_env, campaign)

        assert ended == "sent"
        assert campaign.fired() == fired(
            {
                (KATHMANDU,): "2027-10-30T16:15",
                (BERLIN,): "2027-10-30T20:00",
                (NEW_YORK,): "2027-10-31T02:00",
            }
        )


class TestWindow:
    async def test_of_the_users_holds_back_whom_it_is_closed_for(
        self, skipping_env: WorkflowEnvironment
    ) -> None:
        window = DeliveryWindow(time(9), time(21), None)
        timing = Timing(scheduled_at=utc("2027-10-30T23:00"), window=window)
        zones = (BERLIN, LONDON, NEW_YORK)
        campaign = await scene(skipping_env, waiting(), timing, zones, begins="2027-10-23T23:00")

        ended = await play(skipping_env, campaign)

        assert ended == "sent"
        assert campaign.fired() == fired(
            {
                (NEW_YORK,): "2027-10-30T23:00",
                (BERLIN,): "2027-10-31T08:00",
                (LONDON,): "2027-10-31T09:00",
            }
        )

    async def test_that_closes_on_what_is_owed_keeps_it_until_it_opens(
        self, skipping_env: WorkflowEnvironment
    ) -> None:
        fan_out = sending(apns=3)
        fan_out.change(is_bucketed=True)
        timing = Timing(window=DAYTIME_IN_BERLIN)
        campaign = await scene(skipping_env, fan_out, timing, (), begins="2027-06-01T18:30")
        after = utc("2027-06-01T19:30") + campaign.shift
        owing = {1: iter([BatchResult(sent=9, owed=1, due_at=after)])}
        fan_out.on_batch = lambda number: next(owing.get(number, iter([])), BatchResult(sent=10))

        ended = await play(skipping_env, campaign)

        assert ended == "sent"
        assert [number for number, _ in fan_out.asked_at[-1:]] == [1]
        assert campaign.shown(fan_out.asked_at[-1][1]) == utc("2027-06-02T07:00")
        assert len(fan_out.batches) == 4

    async def test_that_closes_on_batches_in_flight_sends_them_when_it_opens(
        self, skipping_env: WorkflowEnvironment
    ) -> None:
        fan_out = sending(apns=3)
        fan_out.change(is_bucketed=True)
        timing = Timing(window=DAYTIME_IN_BERLIN)
        campaign = await scene(skipping_env, fan_out, timing, (), begins="2027-06-01T18:59:50")
        opens_at = utc("2027-06-02T07:00") + campaign.shift

        def refuse(number: int) -> BatchResult:
            is_open = fan_out.asked_at[-1][1] >= opens_at
            return BatchResult(sent=10) if is_open or number != 1 else STOPPED

        fan_out.on_batch = refuse

        ended = await play(skipping_env, campaign)

        assert ended == "sent"
        assert campaign.shown(fan_out.asked_at[-1][1]) == utc("2027-06-02T07:00")
        assert len(fan_out.batches) < 30

    async def test_that_is_added_while_it_sends_holds_what_is_left(
        self, skipping_env: WorkflowEnvironment
    ) -> None:
        fan_out = sending(apns=2)
        campaign = await scene(skipping_env, fan_out, Timing(), (), begins="2027-06-01T18:00")
        after = utc("2027-06-01T19:30") + campaign.shift
        owing = iter([BatchResult(sent=10), BatchResult(sent=9, owed=1, due_at=after)])
        fan_out.on_batch = lambda _: next(owing, BatchResult(sent=10))

        async with serving(skipping_env.client, fan_out):
            handle = await start_by_row(skipping_env.client, fan_out)
            await until(lambda: len(fan_out.batches) == 2)
            campaign.timing = Timing(window=DAYTIME_IN_BERLIN)
            await tell(handle, fan_out, is_bucketed=True)
            ended = await result(handle)

        assert ended == "sent"
        assert fan_out.batches == [0, 1, 1]
        assert campaign.shown(fan_out.asked_at[-1][1]) == utc("2027-06-02T07:00")

    @pytest.mark.parametrize(
        ("window", "goes_at"),
        [
            (None, "2027-06-01T19:30"),
            (DeliveryWindow(time(8), time(20), BERLIN), "2027-06-02T06:00"),
        ],
        ids=["removed", "changed"],
    )
    async def test_that_is_taken_away_or_changed_while_it_sends(
        self, skipping_env: WorkflowEnvironment, window: DeliveryWindow | None, goes_at: str
    ) -> None:
        fan_out = sending(apns=2)
        fan_out.change(is_bucketed=True)
        timing = Timing(window=DAYTIME_IN_BERLIN)
        campaign = await scene(skipping_env, fan_out, timing, (), begins="2027-06-01T18:00")
        after = utc("2027-06-01T19:30") + campaign.shift
        owing = iter([BatchResult(sent=10), BatchResult(sent=9, owed=1, due_at=after)])
        fan_out.on_batch = lambda _: next(owing, BatchResult(sent=10))

        async with serving(skipping_env.client, fan_out):
            handle = await start_by_row(skipping_env.client, fan_out)
            await until(lambda: len(fan_out.batches) == 2)
            campaign.timing = Timing(window=window)
            await tell(handle, fan_out)
            ended = await result(handle)

        assert ended == "sent"
        assert fan_out.batches == [0, 1, 1]
        assert campaign.shown(fan_out.asked_at[-1][1]) == utc(goes_at)
