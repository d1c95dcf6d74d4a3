"""What must hold of a stop is noticed where it does not."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from fanfare.dev.api_client import Campaign, CampaignStats
from tests.faults.stops import Stop

PAUSED_AT = datetime(2026, 3, 1, 9, tzinfo=UTC)
# Seconds: asked at 1, answered at 2, nothing in flight at 4, looked at until 6.
BEFORE, IN_FLIGHT, QUIET, RESUMED = 1.5, 3.0, 5.0, 7.0


def look(bound: int, sent: int) -> Campaign:
    stats = CampaignStats(audience=10, pending=10 - sent, sent=sent)
    return Campaign(
        id=UUID(int=1),
        name="campaign",
        status="sending",
        stats=stats,
        failure=None,
        paused_at=PAUSED_AT,
        in_flight_at_most=bound,
    )


STOP = Stop(1.0, 2.0, 4.0, 6.0, seen=[look(2, 3), look(1, 4), look(0, 5)], unbalanced=[])


def test_nothing_is_said_where_everything_holds() -> None:
    assert STOP.violations([BEFORE, IN_FLIGHT, IN_FLIGHT, RESUMED]) == []


def test_more_acceptances_than_the_answer_allowed() -> None:
    said = STOP.violations([BEFORE, *[IN_FLIGHT] * 3])

    assert said == ["stop: 3 were accepted after the answer, over 2"]


def test_an_acceptance_when_nothing_was_in_flight() -> None:
    assert STOP.violations([QUIET]) == ["stop: 1 were accepted when nothing was in flight"]


def test_a_bound_that_grows() -> None:
    said = replace(STOP, seen=[look(1, 3), look(2, 3)]).violations([])

    assert said == ["stop: what is in flight grew: [1, 2]"]


def test_a_pause_that_does_not_stay() -> None:
    resumed = look(0, 5).model_copy(update={"paused_at": None})

    assert replace(STOP, seen=[look(0, 5), resumed]).violations([]) == [
        "stop: it did not stay as it was answered"
    ]


def test_counters_that_do_not_add_up_or_go_back() -> None:
    short = look(0, 5).model_copy(update={"stats": CampaignStats(audience=10, sent=5)})

    assert len(replace(STOP, seen=[short]).violations([])) == 1
    assert len(replace(STOP, seen=[look(0, 5), look(0, 4)]).violations([])) == 1
