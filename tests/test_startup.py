"""Waiting for what a process stands on: it goes on by itself, ends when told to, says why."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from fanfare import startup
from fanfare.errors import Misconfigured
from fanfare.readiness import NotReady, problems_of
from fanfare.startup import SILENCE, Waiting


class Thing:
    """Something that is ready from the n-th look on."""

    def __init__(self, problem: Callable[[], Exception], *, looks: int) -> None:
        self._problem = problem
        self._looks = looks

    async def check(self) -> None:
        self._looks -= 1
        if self._looks >= 0:
            raise self._problem()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "AGAIN", startup.AGAIN / 1000)


async def test_it_goes_on_once_all_is_ready() -> None:
    away = Thing(lambda: NotReady("It is away."), looks=3)

    with capture_logs() as logs:
        ready = await startup.wait_for({"thing": away.check}, asyncio.Event())

    assert ready
    assert logs == [
        {"event": "waiting", "log_level": "warning", "what": "thing", "reason": "It is away."}
    ]


async def test_it_ends_in_the_middle_of_a_look_when_told_to() -> None:
    stopping, looked = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        looked.set()
        await asyncio.Event().wait()

    waiting = asyncio.create_task(startup.wait_for({"thing": hang}, stopping))
    await looked.wait()
    stopping.set()

    assert await waiting is False


async def test_what_no_waiting_helps_ends_the_wait() -> None:
    wrong = Thing(lambda: Misconfigured("The password is refused."), looks=1)
    away = Thing(lambda: NotReady("It is away."), looks=1)

    with pytest.raises(Misconfigured, match="refused"):
        await startup.wait_for({"away": away.check, "wrong": wrong.check}, asyncio.Event())


async def test_a_check_that_fails_in_its_own_way_is_a_problem_like_any_other() -> None:
    broken = Thing(lambda: KeyError("a secret"), looks=1)

    problems = await problems_of({"thing": broken.check})

    assert str(problems["thing"]) == "The check failed (KeyError)."


def test_each_cause_is_said_when_it_appears_and_now_and_then() -> None:
    now = 0.0
    waiting = Waiting(clock=lambda: now)
    one, other = NotReady("one"), NotReady("other")

    with capture_logs() as logs:
        waiting.tell({"a": one, "b": one})
        now = 1.0
        waiting.tell({"a": one, "c": other})
        now = SILENCE.total_seconds()
        waiting.tell({"a": one, "c": other})
        waiting.tell({"a": one})
        waiting.tell({"a": one, "c": other})

    said = [(each["what"], each["reason"]) for each in logs]
    assert said == [("a", "one"), ("c", "other"), ("a", "one"), ("c", "other")]
