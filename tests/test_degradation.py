"""Which of several causes is named, and since when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fanfare.degradation import MESSAGES, Crew, DegradedCode, Facts, Trouble, degraded_of

DUE = datetime(2027, 4, 20, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

HEALTHY = Crew(live=2, well=2, heard_at=DUE + MINUTE)
NOBODY = Crew(live=0, well=0, heard_at=DUE + MINUTE)
WITHOUT_TEMPORAL = Crew(
    live=2,
    well=0,
    heard_at=DUE + 2 * MINUTE,
    trouble=Trouble.TEMPORAL_UNREACHABLE,
    trouble_since=DUE + MINUTE,
)
SENDING = Facts(due_at=DUE, is_late=False, is_sending=True, crew=HEALTHY)
SCHEDULED = replace(SENDING, is_sending=False)


def code_of(facts: Facts) -> DegradedCode | None:
    found = degraded_of(facts)
    return None if found is None else found.code


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (SENDING, None),
        (SCHEDULED, None),
        (replace(SCHEDULED, crew=NOBODY), None),
        (replace(SENDING, crew=NOBODY), DegradedCode.NO_WORKER),
        (replace(SENDING, crew=replace(NOBODY, is_read_only=True)), "LEDGER_NOT_WRITABLE"),
        (replace(SENDING, crew=WITHOUT_TEMPORAL), DegradedCode.TEMPORAL_UNREACHABLE),
        (replace(SENDING, crew=replace(WITHOUT_TEMPORAL, well=1)), None),
        (replace(SENDING, held_since=DUE), DegradedCode.PROVIDER_HELD),
        (replace(SENDING, held_since=DUE, crew=NOBODY), DegradedCode.NO_WORKER),
        (replace(SENDING, is_late=True), DegradedCode.NOT_BEGUN),
        (replace(SCHEDULED, is_late=True), DegradedCode.NOT_BEGUN),
        (replace(SCHEDULED, is_late=True, crew=NOBODY), DegradedCode.NO_WORKER),
        (replace(SCHEDULED, is_late=True, crew=WITHOUT_TEMPORAL), "TEMPORAL_UNREACHABLE"),
    ],
)
def test_nearest_cause_is_named(facts: Facts, code: DegradedCode | None) -> None:
    assert code_of(facts) == code


def test_it_is_degraded_since_the_cause_and_never_before_it_was_due() -> None:
    silent = degraded_of(replace(SENDING, crew=NOBODY))
    never_heard = degraded_of(replace(SENDING, crew=Crew(live=0, well=0)))
    long_before = degraded_of(replace(SENDING, held_since=DUE - MINUTE))

    found = [each and each.since for each in (silent, never_heard, long_before)]
    assert found == [DUE + MINUTE, DUE, DUE]


def test_every_code_has_a_sentence() -> None:
    assert MESSAGES.keys() == set(DegradedCode)
