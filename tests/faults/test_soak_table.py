"""What a soak says of itself at its end: its table, its sentences, and the numbers behind them."""

import io
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from fanfare.dev.terminal import Terminal
from tests.faults.soak import table
from tests.faults.soak.campaigns import Load
from tests.faults.soak.chaos import Absence
from tests.faults.soak.judgement import Verdict, bound, longest_stall
from tests.faults.soak.plan import Blow, Part
from tests.faults.soak.watch import Halt

NO_KILLS = dict.fromkeys(Part, 0)
FIRST = Verdict(
    number=1,
    is_careful=False,
    kills={**NO_KILLS, Part.WORKER_1: 1, Part.WORKER_2: 2, Part.API: 1},
    sleeps=1,
    cuts=0,
    audience=20_000,
    lost=0,
    twice=31,
    bound=2_400,
    unflagged=0,
    unknown=0,
    longest_stall=16.24,
    seconds=70.4,
    violations=[],
)
SECOND = replace(FIRST, number=2, is_careful=True, twice=0, unknown=12, longest_stall=3.0)
BROKEN = replace(SECOND, number=3, lost=1, violations=["1 devices are lost", "I3: 1 row"])

FIRST_LINE = "1 3 · · 1 1 · 20,000 · 31 2,400 · · 16.2 70 ✓"

# A window of ten in flight and another of answers, in each of the three lanes.
LOAD = Load(in_flight=10)
LANE = 2 * 10
AT_RISK = 3 * LANE


def shown(verdicts: Sequence[Verdict]) -> Sequence[Sequence[str]]:
    """The words of every line, with the terminal's width out of the way."""
    screen = io.StringIO()
    table.show(Terminal(Console(file=screen, width=200)), verdicts)
    return [line.split() for line in screen.getvalue().splitlines()]


def test_table_has_a_row_for_each_round_and_their_total() -> None:
    lines = shown([FIRST, SECOND])

    second = "2 skip 3 · · 1 1 · 20,000 · · 2,400 · 12 3.0 70 ✓"
    total = "all 6 · · 2 2 · 40,000 · 31 4,800 · 12 16.2 141 ✓"
    assert [FIRST_LINE.split(), second.split()] == lines[3:5]
    assert total.split() in lines


def test_violations_are_sentences_with_their_round() -> None:
    lines = shown([FIRST, BROKEN])

    assert ["✗", "round", "3:", "1", "devices", "are", "lost"] in lines
    assert ["✗", "round", "3:", "I3:", "1", "row"] in lines
    assert [line[-1] for line in lines if line[:1] in (["1"], ["3"], ["all"])] == ["✓", "✗", "✗"]


def test_table_is_whole_in_a_log() -> None:
    screen = io.StringIO()
    table.show(Terminal(Console(file=screen, width=80)), [FIRST, SECOND])

    assert "…" not in screen.getvalue()
    assert FIRST_LINE.split() in [line.split() for line in screen.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("absence", "at_risk"),
    [
        (Absence(Part.WORKER_1, Blow.KILL, 2.0), AT_RISK),
        (Absence(Part.WORKER_2, Blow.SLEEP, 20.0), AT_RISK),
        (Absence(Part.POSTGRES, Blow.KILL, 20.0), 0),
        (Absence(Part.API, Blow.KILL, 20.0), 0),
        (Absence(Part.TEMPORAL, Blow.KILL, 2.0), 0),
        # So long without heartbeats that both workers' batches go to others.
        (Absence(Part.TEMPORAL, Blow.KILL, 9.0), 2 * AT_RISK),
        (Absence(None, Blow.CUT, 0.0), 2 * LANE),
    ],
)
def test_bound_is_what_the_struck_had_at_risk(absence: Absence, at_risk: int) -> None:
    assert bound(LOAD, [absence, absence]) == 2 * at_risk


def test_longest_stall_is_the_longest_time_without_an_acceptance() -> None:
    assert longest_stall(10.0, [11.0, 11.5, 15.5, 16.0], []) == 4.0


def test_stall_begins_with_the_send() -> None:
    assert longest_stall(10.0, [13.0, 13.5], []) == 3.0


def test_what_a_campaign_was_paused_is_no_stall() -> None:
    paused = Halt(paused_at=12.0, resumed_at=14.0, bound=0)

    assert longest_stall(10.0, [11.0, 15.0], [paused]) == 2.0


def test_pause_lets_no_more_through_than_was_in_flight() -> None:
    paused = Halt(paused_at=12.0, resumed_at=14.0, bound=1)

    assert list(paused.violations([11.0, 13.0, 15.0])) == []
    assert list(paused.violations([12.5, 13.0])) == [
        "pause: 2 were accepted after the answer, over 1"
    ]
