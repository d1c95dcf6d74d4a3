"""What APNs calls a bad token is tried once in the app's other environment."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest
from temporalio.testing import ActivityEnvironment

from activities.delivery import BatchPass
from activities.environments import OtherWay, with_other
from activities.pace import CredentialReplaced, Pace, PaceClosed
from activities.stores import Stores
from fanfare.db import credentials
from fanfare.db.audience import BatchSizes
from fanfare.db.credentials import NewCredential
from fanfare.db.engine import Database
from fanfare.entities import Campaign, Limits, SealedSecret
from fanfare.errors import DatabaseUnavailable
from fanfare.ids import new_id
from fanfare.models import (
    Environment,
    ErrorCode,
    Outcome,
    ProjectCtx,
    ProviderName,
    Target,
    TokenAction,
    Verdict,
)
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


@dataclass
class FailingPace(FreePace):
    """Cannot say that anything may go out."""

    error: Exception = field(default_factory=PaceClosed)

    async def admit(self, wanted: int) -> int:
        raise self.error


class FullPace(FreePace):
    """Never has room."""

    async def admit(self, wanted: int) -> int:
        await asyncio.Event().wait()
        raise AssertionError


@dataclass
class ProviderOfMany(FakeProvider):
    """Answers once so many claims are on the wire."""

    claims: asyncio.Barrier = field(default_factory=lambda: asyncio.Barrier(2))

    async def send(self, targets: Sequence[Target]) -> AsyncIterator[Sequence[Answered]]:
        await self.claims.wait()
        async for group in super().send(targets):
            yield group


async def outcomes(send: Send, count: int) -> dict[int, Outcome]:
    """What becomes of so many messages, by token id; none has two outcomes."""
    groups = [group async for group in send([Target(n, f"token-{n}") for n in range(count)])]
    answered: Sequence[Answered] = [one for group in groups for one in group]
    assert len(answered) == len({target for target, _ in answered})
    return {target.token_id: outcome for target, outcome in answered}


async def is_sending() -> bool:
    return True


async def test_only_bad_tokens_are_tried_elsewhere() -> None:
    first, other = FakeProvider({1: BAD, 2: GONE}), FakeProvider()
    pace = FreePace()

    await outcomes(with_other(first.send, OtherWay(other.send, pace, is_sending)), 4)

    assert other.asked == [1]
    assert pace.out == 0


async def test_a_token_that_is_accepted_elsewhere_is_sent_and_belongs_there() -> None:
    first, other = FakeProvider({1: BAD}), FakeProvider()

    found = await outcomes(with_other(first.send, OtherWay(other.send, FreePace(), is_sending)), 2)

    assert found[0] == SENT
    assert found[1] == Outcome(Verdict.SENT, token_action=TokenAction.OTHER_ENVIRONMENT)


@pytest.mark.parametrize("elsewhere", [BAD, GONE, REFUSED])
async def test_what_is_refused_elsewhere_keeps_its_first_answer(elsewhere: Outcome) -> None:
    first, other = FakeProvider({1: BAD}), FakeProvider({1: elsewhere})

    found = await outcomes(with_other(first.send, OtherWay(other.send, FreePace(), is_sending)), 2)

    assert found[1] == BAD


async def test_what_may_have_been_accepted_elsewhere_is_unknown() -> None:
    first, other = FakeProvider({1: BAD}), FakeProvider({1: NO_ANSWER})

    found = await outcomes(with_other(first.send, OtherWay(other.send, FreePace(), is_sending)), 2)

    assert found[1] == NO_ANSWER


@pytest.mark.parametrize(
    "error", [PaceClosed(), CredentialReplaced(), DatabaseUnavailable("away")], ids=repr
)
async def test_first_answer_stands_where_the_other_environment_cannot_be_asked(
    error: Exception,
) -> None:
    first, other = FakeProvider({1: BAD}), FakeProvider()

    found = await outcomes(
        with_other(first.send, OtherWay(other.send, FailingPace(error=error), is_sending)), 2
    )

    assert found == {0: SENT, 1: BAD}
    assert other.asked == []


async def test_first_answer_stands_where_the_other_environment_has_no_room_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, other = FakeProvider({1: BAD}), FakeProvider()
    monkeypatch.setattr("activities.environments.PATIENCE_SECONDS", 0.0)

    async with asyncio.timeout(5):
        found = await outcomes(
            with_other(first.send, OtherWay(other.send, FullPace(), is_sending)), 2
        )

    assert found == {0: SENT, 1: BAD}
    assert other.asked == []


async def test_the_right_environment_is_remembered(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    first, second = await devices(database, project, 2)
    sending = await campaign(database, project)
    work = await attempt(stores, sending, FakeProvider({first: BAD}))
    work.other = OtherWay(FakeProvider().send, FreePace(), is_sending)

    await run(work)

    assert {row.status for row in (await ledger(database, sending)).values()} == {"sent"}
    assert await environments(database, project) == {first: "sandbox", second: "production"}


async def test_environments_that_need_room_in_each_other_do_not_wait_for_each_other(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 2)
    sending = await campaign(database, project, sizes=BatchSizes(batch=1, canary=0))
    production = await narrow_pace(stores, project, Environment.PRODUCTION)
    sandbox = await narrow_pace(stores, project, Environment.SANDBOX)
    refusing = ProviderOfMany(dict.fromkeys(ids, BAD))
    one = await lane(stores, sending, 0, refusing, production, sandbox)
    two = await lane(stores, sending, 1, refusing, sandbox, production)

    async with asyncio.timeout(5):
        await asyncio.gather(*(ActivityEnvironment().run(work.run) for work in (one, two)))

    lines = await ledger(database, sending)
    assert {token: line.status for token, line in lines.items()} == dict.fromkeys(ids, "sent")
    assert (production.in_flight, sandbox.in_flight) == (0, 0)


async def narrow_pace(stores: Stores, project: ProjectCtx, environment: Environment) -> Pace:
    """The pace of an environment's credential, with room for one message."""
    sealed = SealedSecret(b"", b"", "v1")
    new = NewCredential(new_id(), ProviderName.APNS, environment, {}, "", sealed)
    async with stores.database.transaction() as conn:
        credential_id = (await credentials.put(conn, project, new)).id
    return Pace(stores.ledger, project, credential_id, Limits(None, 0, max_in_flight=1))


async def lane(
    stores: Stores, sending: Campaign, number: int, refusing: FakeProvider, own: Pace, other: Pace
) -> BatchPass:
    """An attempt at a batch of tokens that all belong to the other environment."""
    work = await attempt(stores, sending, refusing, number)
    work.pace, work.other = own, OtherWay(FakeProvider().send, other, is_sending)
    return work
