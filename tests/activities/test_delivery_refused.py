"""What becomes of messages that a provider refuses or leaves unanswered, in the real ledger."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from activities.decisions import MAX_ATTEMPTS, MAX_DEVICE_ATTEMPTS
from activities.delivery import CLAIM_SIZE
from activities.refusals import CredentialsRefused, MessageRefused
from activities.stores import Stores
from fanfare.db import verdicts
from fanfare.db.batches import BatchCounts
from fanfare.db.engine import Database
from fanfare.db.tables import push_tokens
from fanfare.models import (
    ErrorCode,
    Outcome,
    ProjectCtx,
    TokenAction,
    Verdict,
)
from tests.activities.passes import active, claim_and_die, make_due, run
from tests.activities.scene import (
    FakeProvider,
    Recorded,
    attempt,
    campaign,
    devices,
    ledger,
)

LATER = timedelta(minutes=1)
REFUSED = Outcome(Verdict.RETRY, ErrorCode.THROTTLED, "TooManyRequests", retry_after=LATER)
SILENCE = Outcome(Verdict.UNKNOWN, ErrorCode.NO_ANSWER, "deadline")
BAD = Outcome(
    Verdict.FAILED, ErrorCode.INVALID_TOKEN, "BadDeviceToken", token_action=TokenAction.QUARANTINE
)
SENT_ONCE = Recorded("sent", None, None, possible_duplicate=False)


async def test_a_silent_provider_is_asked_once_more_and_no_more(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 3)
    sending = await campaign(database, project)
    silent = FakeProvider({ids[1]: SILENCE})

    await run(await attempt(stores, sending, silent))
    await make_due(database, project)
    ended = await run(await attempt(stores, sending, silent))

    assert silent.asked.count(ids[1]) == 2
    assert ended == BatchCounts(3, sent=2, unknown=1)
    line = (await ledger(database, sending))[ids[1]]
    assert line == Recorded("unknown", "no_answer", "deadline", possible_duplicate=True)


async def test_a_token_that_is_throttled_for_ever_fails_in_the_end(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 2)
    sending = await campaign(database, project)
    provider = FakeProvider({ids[0]: REFUSED})

    for _ in range(MAX_DEVICE_ATTEMPTS - 1):
        assert not (await run(await attempt(stores, sending, provider))).is_complete
        await make_due(database, project)
    ended = await run(await attempt(stores, sending, provider))

    assert ended == BatchCounts(2, sent=1, failed=1)
    assert provider.asked.count(ids[0]) == MAX_DEVICE_ATTEMPTS


async def test_refused_credentials_leave_everything_owed(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 3 * CLAIM_SIZE)
    sending = await campaign(database, project)
    refusal = Outcome(Verdict.CREDENTIALS, ErrorCode.CREDENTIALS, "InvalidProviderToken")
    provider, mended = FakeProvider(dict.fromkeys(ids, refusal)), FakeProvider()

    with pytest.raises(CredentialsRefused):
        await run(await attempt(stores, sending, provider))
    await make_due(database, project)
    ended = await run(await attempt(stores, sending, mended))

    assert len(provider.asked) == CLAIM_SIZE
    assert sorted(mended.asked) == ids
    assert ended == BatchCounts(len(ids), sent=len(ids))
    assert await ledger(database, sending) == dict.fromkeys(ids, SENT_ONCE)


async def test_message_that_is_refused_for_what_it_says_leaves_the_rest_owed(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 3 * CLAIM_SIZE)
    sending = await campaign(database, project)
    refusal = Outcome(Verdict.FAILED, ErrorCode.PAYLOAD, "PayloadTooLarge")
    provider, mended = FakeProvider(dict.fromkeys(ids, refusal)), FakeProvider()

    with pytest.raises(MessageRefused, match="PayloadTooLarge"):
        await run(await attempt(stores, sending, provider))
    ended = await run(await attempt(stores, sending, mended))

    assert len(provider.asked) == CLAIM_SIZE
    assert sorted(mended.asked) == ids[CLAIM_SIZE:]
    assert ended == BatchCounts(len(ids), sent=2 * CLAIM_SIZE, failed=CLAIM_SIZE)


async def test_payload_that_others_were_sent_is_refused_for_its_devices_alone(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, CLAIM_SIZE + 3)
    sending = await campaign(database, project)
    refusal = Outcome(Verdict.FAILED, ErrorCode.PAYLOAD, "INVALID_ARGUMENT")
    provider = FakeProvider(dict.fromkeys(ids[CLAIM_SIZE:], refusal))

    ended = await run(await attempt(stores, sending, provider))

    assert ended == BatchCounts(len(ids), sent=CLAIM_SIZE, failed=3)


async def test_devices_that_firebase_cannot_reach_at_apple_cost_the_others_nothing(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 100)
    sending = await campaign(database, project)
    refusal = Outcome(Verdict.FAILED, ErrorCode.CREDENTIALS, "THIRD_PARTY_AUTH_ERROR")

    ended = await run(
        await attempt(stores, sending, FakeProvider(dict.fromkeys(ids[:40], refusal)))
    )

    assert ended == BatchCounts(100, sent=60, failed=40)
    assert await active(database, project) == set(ids)


async def test_canary_of_another_environment_deactivates_nothing(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 20)
    sending = await campaign(database, project)
    bad = BAD._replace(reason="SENDER_ID_MISMATCH")

    ended = await run(await attempt(stores, sending, FakeProvider(dict.fromkeys(ids, bad))))

    assert ended == BatchCounts(20, failed=20, suspects=20)
    assert await active(database, project) == set(ids)


async def test_throttled_project_costs_no_attempt(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 2)
    sending = await campaign(database, project)
    throttle = Outcome(Verdict.RETRY, ErrorCode.THROTTLED, "RESOURCE_EXHAUSTED", retry_after=LATER)
    throttled = FakeProvider(dict.fromkeys(ids, throttle))

    for _ in range(2 * MAX_ATTEMPTS):
        await run(await attempt(stores, sending, throttled))
        await make_due(database, project)
    ended = await run(await attempt(stores, sending, FakeProvider()))

    assert ended == BatchCounts(2, sent=2)


async def test_a_refusal_after_an_attempt_in_doubt_is_no_proof_of_failure(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 1)
    sending = await campaign(database, project)
    gone = FakeProvider({ids[0]: _gone(datetime.now(UTC) + timedelta(hours=1))})

    await claim_and_die(await attempt(stores, sending, FakeProvider()))
    ended = await run(await attempt(stores, sending, gone))

    assert ended == BatchCounts(1, unknown=1)
    line = (await ledger(database, sending))[ids[0]]
    assert line == Recorded("unknown", "invalid_token", "Unregistered", possible_duplicate=True)


async def test_a_bad_token_after_an_attempt_in_doubt_is_no_suspect(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    [token] = await devices(database, project, 1)
    sending = await campaign(database, project)
    await suspect_long_ago(database, project, token)

    await claim_and_die(await attempt(stores, sending, FakeProvider()))
    ended = await run(await attempt(stores, sending, FakeProvider({token: BAD})))

    assert ended == BatchCounts(1, unknown=1)
    assert await active(database, project) == {token}


async def test_a_credential_that_was_wrong_leaves_a_dead_token_dead(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    dead, bad = await devices(database, project, 2)
    sending = await campaign(database, project)
    await suspect_long_ago(database, project, dead)
    unregistered = _gone(datetime.now(UTC) + timedelta(hours=1))

    await run(await attempt(stores, sending, FakeProvider({dead: unregistered, bad: BAD})))
    async with stores.ledger.connection() as conn:
        await verdicts.roll_back(conn, project, sending.id)

    assert (await ledger(database, sending)).keys() == {dead}
    assert await active(database, project) == {bad}
    assert await suspects(database, project) == {dead}


async def test_a_dead_token_is_deactivated_unless_it_registered_since(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 3)
    sending = await campaign(database, project)
    later, earlier = datetime.now(UTC) + timedelta(hours=1), datetime(2020, 1, 1, tzinfo=UTC)
    provider = FakeProvider({ids[0]: _gone(later), ids[1]: _gone(earlier)})

    await run(await attempt(stores, sending, provider))

    lines = await ledger(database, sending)
    assert lines[ids[0]].error_code == "invalid_token"
    assert lines[ids[1]].error_code == "superseded"
    assert await active(database, project) == {ids[1], ids[2]}


async def test_one_bad_device_token_deactivates_nothing(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 2)
    sending = await campaign(database, project)

    await run(await attempt(stores, sending, FakeProvider({ids[0]: BAD})))

    assert (await ledger(database, sending))[ids[0]].status == "failed"
    assert await active(database, project) == set(ids)


async def suspect_long_ago(database: Database, project: ProjectCtx, token: int) -> None:
    """Have an earlier campaign call the token bad, days ago: once more, and it is deactivated."""
    statement = sa.update(push_tokens).where(
        push_tokens.c.project_id == project.project_id, push_tokens.c.id == token
    )
    days_ago = datetime.now(UTC) - timedelta(days=3)
    async with database.transaction() as conn:
        await conn.execute(statement.values(suspicions=1, suspected_at=days_ago))


async def suspects(database: Database, project: ProjectCtx) -> set[int]:
    """The ids of the tokens that are under suspicion."""
    query = sa.select(push_tokens.c.id).where(
        push_tokens.c.project_id == project.project_id, push_tokens.c.suspicions > 0
    )
    async with database.transaction() as conn:
        return set((await conn.execute(query)).scalars())


def _gone(since: datetime) -> Outcome:
    return Outcome(
        Verdict.FAILED,
        ErrorCode.INVALID_TOKEN,
        "Unregistered",
        token_action=TokenAction.DEACTIVATE_BEFORE,
        dead_since=since,
    )
