"""What APNs calls a bad token is tried once in the app's other environment."""

from collections.abc import Sequence

import pytest

from activities.environments import OtherWay, with_other
from activities.pace import PaceClosed
from activities.stores import Stores
from fanfare.db.engine import Database
from fanfare.models import ErrorCode, Outcome, ProjectCtx, Target, TokenAction, Verdict
from fanfare.providers import Answered, Send
from tests.activities.passes import run
from tests.activities.scene import (
    SENT,
    FakeProvider,
    FreePace,
    attempt,
    campaign,
    devices,
    environments,
    ledger,
)

BAD = Outcome(
    Verdict.FAILED, ErrorCode.INVALID_TOKEN, "BadDeviceToken", token_action=TokenAction.QUARANTINE
)
GONE = Outcome(Verdict.FAILED, ErrorCode.INVALID_TOKEN, "Unregistered")
NO_ANSWER = Outcome(Verdict.UNKNOWN, ErrorCode.NO_ANSWER, "deadline")
REFUSED = Outcome(Verdict.CREDENTIALS, ErrorCode.CREDENTIALS, "InvalidProviderToken")


class ClosedPace(FreePace):
    """Its credential was refused."""

    async def admit(self, wanted: int) -> int:
        raise PaceClosed


async def outcomes(send: Send, count: int) -> dict[int, Outcome]:
    """What becomes of so many messages, by token id; none has two outcomes."""
    groups = [group async for group in send([Target(n, f"token-{n}") for n in range(count)])]
    answered: Sequence[Answered] = [one for group in groups for one in group]
    assert len(answered) == len({target for target, _ in answered})
    return {target.token_id: outcome for target, outcome in answered}


async def test_only_bad_tokens_are_tried_elsewhere() -> None:
    first, other = FakeProvider({1: BAD, 2: GONE}), FakeProvider()
    pace = FreePace()

    await outcomes(with_other(first.send, OtherWay(other.send, pace)), 4)

    assert other.asked == [1]
    assert pace.out == 0


async def test_a_token_that_is_accepted_elsewhere_is_sent_and_belongs_there() -> None:
    first, other = FakeProvider({1: BAD}), FakeProvider()

    found = await outcomes(with_other(first.send, OtherWay(other.send, FreePace())), 2)

    assert found[0] == SENT
    assert found[1] == Outcome(Verdict.SENT, token_action=TokenAction.OTHER_ENVIRONMENT)


@pytest.mark.parametrize("elsewhere", [BAD, GONE, REFUSED])
async def test_what_is_refused_elsewhere_keeps_its_first_answer(elsewhere: Outcome) -> None:
    first, other = FakeProvider({1: BAD}), FakeProvider({1: elsewhere})

    found = await outcomes(with_other(first.send, OtherWay(other.send, FreePace())), 2)

    assert found[1] == BAD


async def test_what_may_have_been_accepted_elsewhere_is_unknown() -> None:
    first, other = FakeProvider({1: BAD}), FakeProvider({1: NO_ANSWER})

    found = await outcomes(with_other(first.send, OtherWay(other.send, FreePace())), 2)

    assert found[1] == NO_ANSWER


async def test_a_credential_that_is_refused_elsewhere_is_not_asked() -> None:
    first, other = FakeProvider({1: BAD}), FakeProvider()

    found = await outcomes(with_other(first.send, OtherWay(other.send, ClosedPace())), 2)

    assert found == {0: SENT, 1: BAD}
    assert other.asked == []


async def test_the_right_environment_is_remembered(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    first, second = await devices(database, project, 2)
    sending = await campaign(database, project)
    work = await attempt(stores, sending, FakeProvider({first: BAD}))
    work.send = with_other(work.send, OtherWay(FakeProvider().send, FreePace()))

    await run(work)

    assert {row.status for row in (await ledger(database, sending)).values()} == {"sent"}
    assert await environments(database, project) == {first: "sandbox", second: "production"}
