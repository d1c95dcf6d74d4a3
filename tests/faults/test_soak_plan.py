"""A plan of kills is drawn from its seed alone, and strikes every part."""

from collections import Counter
from itertools import pairwise

import pytest

from fanfare.models import OnUnknown
from tests.faults.soak.plan import (
    LAST_BLOW,
    LONGEST_ABSENCE,
    SHORTEST_ABSENCE,
    SHORTEST_SLEEP,
    Blow,
    Incident,
    Part,
    draw,
)

SEED = 7
HEARTBEAT_SECONDS = 15


def incidents(seed: int, kills: int) -> list[Incident]:
    rounds = draw(seed, kills, kills_a_round=5)
    return [incident for each in rounds for incident in each.incidents]


def killed(seed: int, kills: int) -> list[Incident]:
    return [incident for incident in incidents(seed, kills) if incident.blow is Blow.KILL]


def test_same_seed_draws_the_same_plan() -> None:
    assert draw(SEED, 30, kills_a_round=5) == draw(SEED, 30, kills_a_round=5)


def test_another_seed_draws_another_plan() -> None:
    assert draw(SEED, 30, kills_a_round=5) != draw(SEED + 1, 30, kills_a_round=5)


@pytest.mark.parametrize(("kills", "sizes"), [(1, [1]), (5, [5]), (12, [5, 5, 2])])
def test_kills_are_as_many_as_asked_for(kills: int, sizes: list[int]) -> None:
    rounds = draw(SEED, kills, kills_a_round=5)

    counts = [sum(blow.blow is Blow.KILL for blow in each.incidents) for each in rounds]
    assert counts == sizes
    assert [each.number for each in rounds] == list(range(1, len(sizes) + 1))


def test_every_part_is_killed_equally_often() -> None:
    assert Counter(kill.part for kill in killed(SEED, 30)) == dict.fromkeys(Part, 6)


@pytest.mark.parametrize("seed", range(20))
def test_blows_rise_through_the_send_and_leave_some_of_it(seed: int) -> None:
    rounds = draw(seed, 10, kills_a_round=5)

    moments = [[incident.at for incident in each.incidents] for each in rounds]
    assert all(earlier <= later for each in moments for earlier, later in pairwise(each))
    assert all(0.0 <= moment <= LAST_BLOW for each in moments for moment in each)


def test_some_blows_fall_together() -> None:
    moments = [incident.at for incident in incidents(SEED, 60)]

    assert any(earlier == later for earlier, later in pairwise(moments))


def test_killed_part_is_away_for_a_short_time() -> None:
    absences = [kill.away_seconds for kill in killed(SEED, 60)]

    assert all(SHORTEST_ABSENCE <= absence <= LONGEST_ABSENCE for absence in absences)


def test_sleeping_worker_misses_its_heartbeats() -> None:
    sleeps = [each for each in incidents(SEED, 60) if each.blow is Blow.SLEEP]

    assert {each.part for each in sleeps} <= {Part.WORKER_1, Part.WORKER_2}
    assert all(each.away_seconds >= SHORTEST_SLEEP > HEARTBEAT_SECONDS for each in sleeps)
    assert sleeps


def test_rounds_are_of_every_kind() -> None:
    rounds = draw(SEED, 30, kills_a_round=5)

    blows = {incident.blow for each in rounds for incident in each.incidents}
    assert {each.on_unknown for each in rounds} == set(OnUnknown)
    assert {each.pause is None for each in rounds} == {True, False}
    assert blows == set(Blow)


def test_plan_of_kills_alone_has_nothing_else() -> None:
    rounds = draw(SEED, 30, kills_a_round=5, only_kills=True)

    assert {incident.blow for each in rounds for incident in each.incidents} == {Blow.KILL}
