"""What providers answer: quotas, devices that are gone or came back, and words nobody expects.

The campaigns run side by side; each test waits for its own. A small JSON in two DATA frames is in
tests/providers/test_http2.py; here it is one that fills more than one frame. That a connection
outlives thousands of error replies is proven there as well; here by two workers with one each.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from fanfare.dev.api_client import Campaign
from fanfare.dev.reconciliation import Device
from tests.faults.devices import Rule, apns, fcm, rule, user_of
from tests.faults.oracle import Facts
from tests.faults.staging import MOST_ATTEMPTS, Limits, Outcome, Stage, Staged, leave

# As many as one connection to APNs holds, so that each worker has one.
ONE_CONNECTION = Limits(max_in_flight=500)
PER_MINUTE = 60_000
QUOTA = Limits(messages_per_minute=PER_MINUTE, max_in_flight=200)
RETRY_AFTER = 7

CHURN = 14_000
GONE, BACK = apns("0a15dd", 1_400), apns("0a15bb", 1_400)
LIVING = apns("0a15aa", CHURN - len(GONE) - len(BACK))
# After so many error replies a connection of aioapns 4.0 is stuck.
WEDGED_AFTER = 1_285

ODD_EACH = 20
# The last of the answer stands in the second DATA frame: a frame holds 16,384 bytes.
PADDING = "x" * 20_000
HUGE = "x" * 1_000_000
HTML = "<html><body>Something went wrong.</body></html>"
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
GONE_BY_APNS = {"padding": PADDING, "reason": "Unregistered"}
GONE_BY_FCM = {
    "padding": PADDING,
    "error": {"details": [{"@type": FCM_ERROR, "errorCode": "UNREGISTERED"}]},
}
NEW_BY_FCM = {"error": {"code": 400, "status": "SOMETHING_NEW"}}
ODD_RULES: Sequence[Rule] = [
    rule("0a2301", status=200, body=HTML),
    rule("0a2302", status=400, body=""),
    rule("0a2303", status=400, reason="SomethingNew"),
    rule("0a2304", status=410, body=json.dumps(GONE_BY_APNS)),
    rule("0a2305", status=400, body=HUGE),
    rule("0f2301", status=200, body=HTML),
    rule("0f2302", status=400, body=""),
    rule("0f2303", status=400, body=json.dumps(NEW_BY_FCM)),
    rule("0f2304", status=404, body=json.dumps(GONE_BY_FCM)),
    rule("0f2305", status=400, body=HUGE),
    rule("0f2306", {"first_per_token": 1}, status=502, body=HTML),
]
ODD_OUTCOMES = [
    Outcome("0a2300", "sent"),
    Outcome("0a2301", "sent"),
    Outcome("0a2302", "failed", "unrecognised", "http_400"),
    Outcome("0a2303", "failed", "unrecognised", "SomethingNew"),
    Outcome("0a2304", "failed", "invalid_token", "Unregistered"),
    Outcome("0a2305", "failed", "unrecognised", "http_400"),
    Outcome("0f2300", "sent"),
    # Accepted by its status; that its words are odd is noted.
    Outcome("0f2301", "sent", None, "odd_reply"),
    Outcome("0f2302", "failed", "unrecognised", "http_400"),
    Outcome("0f2303", "failed", "unrecognised", "SOMETHING_NEW"),
    Outcome("0f2304", "failed", "invalid_token", "UNREGISTERED"),
    Outcome("0f2305", "failed", "unrecognised", "http_400"),
    Outcome("0f2306", "sent"),
]

SICK_FETCHES = 3
# Google's library asks three times by itself before it says so.
OAUTH_RULE: Rule = {
    "match": {"provider": "oauth", "first": SICK_FETCHES},
    "answer": {"status": 500},
}


@dataclass(frozen=True)
class Ended:
    """A campaign that has ended."""

    staged: Staged
    campaign: Campaign


@dataclass(frozen=True)
class Throttled(Ended):
    """`attempts` is the most that a throttled message had used while all were held."""

    attempts: int
    meanwhile: Sequence[str]


@dataclass(frozen=True)
class Plays:
    """The scenarios under way."""

    oauth: asyncio.Task[Ended]
    quota: asyncio.Task[Throttled]
    churn: asyncio.Task[Ended]
    odd: asyncio.Task[Ended]


@pytest.fixture(scope="module")
async def plays(stage: Stage) -> AsyncIterator[Plays]:
    """Start them all; the one with the sick token endpoint first, so that no other meets it."""
    oauth = await stage.campaign(fcm("0f18", 200))
    quota = await stage.campaign(fcm("0f12", 4_000), QUOTA)
    churn = await stage.campaign([*GONE, *LIVING, *BACK], ONE_CONNECTION)
    odd = await stage.campaign([*odd_devices(apns, 6, "0a23"), *odd_devices(fcm, 7, "0f23")])
    await stage.script([OAUTH_RULE, *rules(datetime.now(UTC))])
    await oauth.send()
    await stage.until(lambda: stage.hits(0) == SICK_FETCHES)
    plays = Plays(
        oauth=asyncio.create_task(ended(oauth)),
        quota=asyncio.create_task(play_quota(quota)),
        churn=asyncio.create_task(play_churn(churn)),
        odd=asyncio.create_task(play(odd)),
    )
    yield plays
    await leave(vars(plays).values())
    await stage.script([])


def rules(now: datetime) -> Sequence[Rule]:
    """Who is gone has been so since `now`."""
    throttle = {"status": 429, "reason": "RATE_LIMIT_EXCEEDED", "retry_after": RETRY_AFTER}
    gone = {"status": 410, "timestamp_ms": int(now.timestamp() * 1000)}
    return [
        rule("0f12", {"after": 1_500, "first": 100}, **throttle),
        rule("0a15dd", **gone),
        rule("0a15bb", **gone),
        *ODD_RULES,
    ]


def odd_devices(
    provider: Callable[[str, int], Sequence[Device]], kinds: int, prefix: str
) -> Sequence[Device]:
    return [device for kind in range(kinds) for device in provider(f"{prefix}{kind:02}", ODD_EACH)]


async def ended(staged: Staged) -> Ended:
    return Ended(staged, await staged.over())


async def play(staged: Staged) -> Ended:
    await staged.send()
    return await ended(staged)


async def play_quota(staged: Staged) -> Throttled:
    """Look at what is owed while the quota holds everything."""
    await staged.send()
    await staged.stage.until(lambda: staged.owed() > 0)
    attempts = await staged.stage.do(lambda: staged.value(MOST_ATTEMPTS))
    meanwhile = staged.violations_meanwhile()
    return Throttled(staged, await staged.over(), attempts, meanwhile)


async def play_churn(staged: Staged) -> Ended:
    """While it is sent, the apps of some who are said to be gone say that they are there."""
    await staged.send()
    first = len(GONE) + len(LIVING)
    returning = [(user_of(first + place), token) for place, (_, token) in enumerate(BACK)]
    await staged.stage.do(lambda: staged.register(returning))
    return await ended(staged)


async def test_an_oauth_endpoint_in_trouble_is_asked_later(plays: Plays) -> None:
    run = await plays.oauth

    assert run.campaign.status == "sent"
    assert run.campaign.stats.sent == 200
    assert run.staged.violations() == []


async def test_a_quota_holds_everything_for_its_time_and_then_halves_the_rate(
    plays: Plays,
) -> None:
    run = await plays.quota

    accepted = run.staged.accepted_at()
    silences = [later - earlier for earlier, later in pairwise(accepted)]
    assert run.campaign.status == "sent"
    # The other worker hears of it within a second.
    assert RETRY_AFTER - 1.5 < max(silences) < RETRY_AFTER + 2
    assert accepted[-1] - accepted[-2_000] > 0.75 * 2 * 2_000 / (PER_MINUTE / 60)
    assert run.meanwhile == []
    assert run.staged.violations(Facts(retry_budget=0.05)) == []


async def test_a_quota_is_no_attempt_of_a_message(plays: Plays) -> None:
    run = await plays.quota

    assert run.attempts == 0


async def test_only_who_did_not_come_back_is_deactivated(plays: Plays) -> None:
    run = await plays.churn

    outcomes = run.staged.outcomes(6)
    refused = run.staged.refused()
    gone, back = Outcome("0a15dd", "failed", "invalid_token", "Unregistered"), "0a15bb"
    assert run.campaign.status == "sent"
    assert refused == len(GONE) + len(BACK) > 2 * WEDGED_AFTER
    assert outcomes[gone] == len(GONE)
    assert outcomes[Outcome("0a15aa", "sent")] == len(LIVING)
    assert {kind.error_code for kind in outcomes if kind.prefix == back} <= {
        "invalid_token",
        "superseded",
    }
    assert Outcome(back, "failed", "superseded", "Unregistered") in outcomes
    assert run.staged.violations(Facts(dead=frozenset(GONE))) == []


async def test_an_odd_answer_is_classified_and_costs_no_other_message(plays: Plays) -> None:
    run = await plays.odd

    dead = {*apns("0a2304", ODD_EACH), *fcm("0f2304", ODD_EACH)}
    assert run.campaign.status == "sent"
    assert run.staged.outcomes(6) == dict.fromkeys(ODD_OUTCOMES, ODD_EACH)
    assert run.staged.violations(Facts(dead=dead, retry_budget=0.1)) == []
