"""A restored database sends nothing again, until an operator has decided."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from fanfare.dev.api_client import Campaign
from tests.faults import restores
from tests.faults.devices import fcm
from tests.faults.oracle import Facts
from tests.faults.restores import Held
from tests.faults.stages import staged
from tests.faults.staging import Stage, Staged


@dataclass(frozen=True)
class Resumed:
    """A campaign that was held, and what the oracle said of its end."""

    held: Held
    campaign: Campaign
    accepted: int
    violations: Sequence[str]


@pytest.fixture(scope="module")
async def own_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("restores")) as stage:
        yield stage


@pytest.fixture(scope="module")
async def held(own_stage: Stage) -> Sequence[Held]:
    """Half sent and would resend, half sent and would skip, due in the lost time, and due in a
    week but sent in the lost time."""
    cast = await restores.begin(own_stage)
    copy = await restores.take_copy(own_stage)
    await restores.live_on(own_stage, cast)
    await restores.restore(own_stage, copy)
    return await restores.held(own_stage, cast)


@pytest.fixture(scope="module")
async def resumed(held: Sequence[Held]) -> Sequence[Resumed]:
    """The first three of them, resumed."""
    return [await _resumed(each) for each in held[:3]]


async def _resumed(held: Held) -> Resumed:
    campaign = await restores.resume(held.staged)
    do = held.staged.stage.do
    may_repeat = held.accepted - held.known
    facts = Facts(repeats=may_repeat, retry_budget=1.0)
    violations = await do(lambda: held.staged.violations(facts))
    return Resumed(held, campaign, await do(held.staged.accepted), violations)


def test_everything_was_sent_before_the_restore_and_is_half_known_after_it(
    held: Sequence[Held],
) -> None:
    assert [each.accepted for each in held] == [each.staged.size for each in held]
    assert [each.known > 0 for each in held] == [True, True, False, False]
    assert all(each.known < each.staged.size for each in held)


def test_nothing_is_sent_before_an_operator_resumes(held: Sequence[Held]) -> None:
    assert [each.later for each in held] == [each.accepted for each in held]


def test_each_rests_and_says_why(held: Sequence[Held]) -> None:
    assert {each.reason for each in held} == {"database_restored"}
    assert [each.seen.status for each in held] == ["sending", "sending", "scheduled", "scheduled"]


def test_who_would_resend_flags_each_repeat(resumed: Sequence[Resumed]) -> None:
    half, due = resumed[0], resumed[2]

    assert [half.violations, due.violations] == [[], []]
    assert [half.campaign.status, due.campaign.status] == ["sent", "sent"]
    assert half.accepted == half.held.accepted + half.held.staged.size - half.held.known
    assert due.campaign.stats.possible_duplicates == due.held.staged.size


def test_who_would_skip_sends_to_nobody_twice(resumed: Sequence[Resumed]) -> None:
    skipping = resumed[1]

    assert skipping.violations == []
    assert skipping.accepted == skipping.held.accepted
    assert skipping.campaign.stats.unknown == skipping.held.staged.size - skipping.held.known


async def test_promotion_holds_what_is_under_way_and_nobody_gets_it_unflagged(
    own_stage: Stage, resumed: Sequence[Resumed]
) -> None:
    sending = await own_stage.campaign(fcm("0f65", 1_200), restores.PACE)
    await sending.send()
    await own_stage.until(lambda: sending.accepted() >= restores.TAKEN_AT)

    await restores.move(own_stage)
    await own_stage.until(lambda: restores.reason(sending) == "database_restored")
    await _until_quiet(own_stage, sending)
    accepted = sending.accepted()
    ended = await restores.resume(sending)

    facts = Facts(retry_budget=0.05)
    assert accepted < sending.size
    assert await own_stage.do(lambda: sending.violations(facts)) == []
    assert ended.stats.possible_duplicates == sending.size - accepted


async def _until_quiet(stage: Stage, sending: Staged) -> None:
    """Return when nothing is on the wire any more."""
    await stage.until(lambda: sending.rows("true") == sending.accepted())
