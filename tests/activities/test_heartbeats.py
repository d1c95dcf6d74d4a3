"""What the Temporal web UI is told of an activity that waits."""

import asyncio
from datetime import UTC, datetime

import pytest
from temporalio.testing import ActivityEnvironment

from activities import heartbeats
from activities.heartbeats import NOTE_KEEPS_SECONDS, Wait, Waiting, asking, beating

UNTIL = datetime(2027, 4, 20, 9, 0, 7, 250_000, tzinfo=UTC)
UNTIL_SHOWN = "2027-04-20T09:00:07+00:00"


def test_a_wait_is_told_with_its_length_and_its_end() -> None:
    waiting = Waiting()

    waiting.note(Wait.PROVIDER, UNTIL, 100.0)
    waiting.note(Wait.PROVIDER, UNTIL, 106.0)

    assert waiting.details(107.0) == {
        "waits_for": "the provider",
        "seconds": 7,
        "until": UNTIL_SHOWN,
    }


def test_who_says_nothing_any_more_does_not_wait() -> None:
    waiting = Waiting()

    waiting.note(Wait.DATABASE, None, 100.0)

    assert waiting.details(101.0) == {"waits_for": "PostgreSQL", "seconds": 1}
    assert waiting.details(100.0 + NOTE_KEEPS_SECONDS) is None


def test_another_wait_begins_anew() -> None:
    waiting = Waiting()

    waiting.note(Wait.DATABASE, None, 100.0)
    waiting.note(Wait.RATE, None, 105.0)

    assert waiting.details(106.0) == {"waits_for": "the rate", "seconds": 1}


def test_outside_of_an_activity_nobody_listens() -> None:
    heartbeats.note(Wait.DATABASE)

    with asking(Wait.RATE, lambda: UNTIL):
        pass


async def test_heartbeats_say_what_holds_the_activity_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeats, "INTERVAL_SECONDS", 0.001)
    answers = iter([None, UNTIL])
    heard: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()

    async def work() -> None:
        async with beating():
            with (
                asking(Wait.RATE, lambda: None),
                asking(Wait.PROVIDER, lambda: next(answers, UNTIL)),
            ):
                assert await heard.get() == ()
                assert await heard.get() == (
                    {"waits_for": "the provider", "seconds": 0, "until": UNTIL_SHOWN},
                )

    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *details: heard.put_nowait(details)
    await environment.run(work)


async def test_what_works_for_the_activity_speaks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeats, "INTERVAL_SECONDS", 0.001)
    heard: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()

    async def deliver() -> None:
        heartbeats.note(Wait.DATABASE)
        await heard.get()

    async def work() -> None:
        async with beating():
            await asyncio.create_task(deliver())
            assert await heard.get() == ({"waits_for": "PostgreSQL", "seconds": 0},)

    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *details: heard.put_nowait(details)
    await environment.run(work)
