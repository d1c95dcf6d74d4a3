"""A short soak: every part is killed once while two campaigns are sent."""

from collections.abc import Sequence

import pytest

from tests.faults.soak import plan, table
from tests.faults.soak.campaigns import Load
from tests.faults.soak.judgement import Verdict
from tests.faults.soak.plan import Part
from tests.faults.soak.rounds import Soak
from tests.faults.staging import Stage

# Draws one of each part, none before the send is under way.
SEED, KILLS, KILLS_A_ROUND = 1_048, 4, 2
LOAD = Load(size=2_000, in_flight=40, seconds=6.0)


@pytest.fixture(scope="module")
async def verdicts(stage: Stage) -> Sequence[Verdict]:
    rounds = plan.draw(SEED, KILLS, kills_a_round=KILLS_A_ROUND, only_kills=True)
    soak = Soak(stage.stack, LOAD, cut=lambda: None, say=print)
    found = await stage.do(lambda: soak.play(rounds))
    await stage.script([])
    return found


async def test_nothing_that_is_promised_is_broken(verdicts: Sequence[Verdict]) -> None:
    assert table.sentences(verdicts) == []


async def test_nobody_is_lost_or_sent_to_twice_without_a_flag(verdicts: Sequence[Verdict]) -> None:
    assert [verdict.audience for verdict in verdicts] == [LOAD.size, LOAD.size]
    assert [(verdict.lost, verdict.unflagged) for verdict in verdicts] == [(0, 0), (0, 0)]
    assert all(verdict.twice <= verdict.bound for verdict in verdicts)


async def test_every_part_was_killed(verdicts: Sequence[Verdict]) -> None:
    killed = [part for verdict in verdicts for part, times in verdict.kills.items() if times]

    assert {*killed} == {Part.WORKER_1, Part.POSTGRES, Part.TEMPORAL, Part.API}
