"""Providers that refuse everything, for a while or until an operator acts; and what is left then.

The campaigns run side by side until every fault has struck. Then all is well again at the
providers, and each goes on as its fault asks: by itself, when its time has come, or resumed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from fanfare.dev.api_client import Campaign
from tests.faults.devices import Rule, apns, fcm, rule
from tests.faults.oracle import Facts
from tests.faults.staging import MOST_ATTEMPTS, WORKERS, Limits, Stage, Staged, leave

# One in a hundred of the 20,000 that the scenario is meant for; it does not grow with them.
STORM_REQUESTS = 200
# Longer than it takes to notice a storm, shorter than the first trial after it.
QUIET_SECONDS = 5
MOST_TRIES = 5
# A scenario whose fault never strikes holds up the others no longer.
WEATHER_SECONDS = 90

IN_FLIGHT = 100
REVOKED_AFTER = 3_000
WRONG_REQUESTS = 50
# A provider token that is called expired is replaced twice before the clock is blamed.
TOKENS_TRIED, CANARY = 3, 20

FAR_OFF = "due_at > now() + interval '5 minutes'"
SUSPECTS = "SELECT count(*) FROM push_tokens WHERE project_id = %(project)s AND suspicions > 0"

SCRIPT: Sequence[Rule] = [
    rule("0[af]11", status=503),
    rule("0a16", {"after": REVOKED_AFTER}, status=403, reason="InvalidProviderToken"),
    rule("0a17", status=400, reason="BadDeviceToken"),
    rule("0f17", status=403, reason="SENDER_ID_MISMATCH"),
    rule("0a18", status=403, reason="ExpiredProviderToken"),
]


@dataclass(frozen=True)
class Storm:
    """A campaign in a storm. `noticed_after`: from the first request to the last before quiet."""

    staged: Staged
    requests: int
    noticed_after: float
    meanwhile: Sequence[str]
    attempts: int
    campaign: Campaign


@dataclass(frozen=True)
class Refused:
    """A campaign that failed and was resumed once the cause was gone.

    `failed_after`: from the first refusal that was seen, in seconds. `requests`: until it failed.
    """

    staged: Staged
    failed: Campaign
    failed_after: float
    requests: int
    suspects: int
    meanwhile: Sequence[str]
    resumed: Campaign


@dataclass
class Quiet:
    """Whether a campaign's providers are asked no more, and when they last were."""

    staged: Staged
    asked: int = 0
    began: float = 0.0
    ended: float = 0.0

    def has_come(self) -> bool:
        asked, now = self.staged.asked(), time.monotonic()
        if asked > self.asked:
            self.began, self.asked, self.ended = self.began or now, asked, now
        return asked > 0 and now - self.ended > QUIET_SECONDS


class Weather:
    """When every fault has struck, and the providers are well again."""

    def __init__(self, faults: int) -> None:
        self._to_strike = faults
        self._all_have_struck = asyncio.Event()
        self._is_fair = asyncio.Event()

    async def wait_for_fair(self) -> None:
        """Say that a fault has struck, and wait until all is well."""
        self._to_strike -= 1
        if not self._to_strike:
            self._all_have_struck.set()
        async with asyncio.timeout(WEATHER_SECONDS):
            await self._is_fair.wait()

    async def clear_up(self, stage: Stage) -> None:
        await self._all_have_struck.wait()
        await stage.script([])
        self._is_fair.set()


@dataclass(frozen=True)
class Plays:
    """The scenarios under way."""

    storm: asyncio.Task[Storm]
    revoked: asyncio.Task[Refused]
    wrong_apns: asyncio.Task[Refused]
    wrong_fcm: asyncio.Task[Refused]
    skewed: asyncio.Task[Refused]
    stranger: asyncio.Task[Refused]


@pytest.fixture(scope="module")
async def plays(stage: Stage) -> AsyncIterator[Plays]:
    """Start them all; the faults end when each has struck."""
    storm = await stage.campaign([*apns("0a11", 3_000), *fcm("0f11", 5_000)])
    revoked = await stage.campaign(apns("0a16", 8_000), Limits(max_in_flight=IN_FLIGHT))
    wrong_apns = await stage.campaign(apns("0a17", 1_000))
    wrong_fcm = await stage.campaign(fcm("0f17", 1_000))
    skewed = await stage.campaign(apns("0a18", 1_000))
    stranger = await stage.campaign(fcm("0f18", 200))
    account = another_account(stage)
    await stage.do(lambda: stranger.put_credentials(service_account=account))
    await stage.script(SCRIPT)
    weather = Weather(faults=6)
    clearing = asyncio.create_task(weather.clear_up(stage))
    plays = Plays(
        storm=asyncio.create_task(play_storm(storm, weather)),
        revoked=asyncio.create_task(play_refused(revoked, weather)),
        wrong_apns=asyncio.create_task(play_refused(wrong_apns, weather)),
        wrong_fcm=asyncio.create_task(play_refused(wrong_fcm, weather)),
        skewed=asyncio.create_task(play_refused(skewed, weather)),
        stranger=asyncio.create_task(play_refused(stranger, weather)),
    )
    yield plays
    clearing.cancel()
    await leave(vars(plays).values())
    await stage.script([])


def another_account(stage: Stage) -> Mapping[str, object]:
    """The service account with a key that Google does not know."""
    account = orjson.loads((stage.stack.account / "service-account.json").read_bytes())
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {**account, "private_key": pem.decode()}


async def play_storm(staged: Staged, weather: Weather) -> Storm:
    """Wait until nobody is asked any more; then until what is left has to wait."""
    stage, quiet = staged.stage, Quiet(staged)
    await staged.send()
    await stage.until(quiet.has_come)
    meanwhile = staged.violations_meanwhile()
    await weather.wait_for_fair()
    await stage.until(lambda: staged.rows("true") + staged.owed(FAR_OFF) == 8_000)
    attempts = await stage.do(lambda: staged.value(MOST_ATTEMPTS))
    await stage.do(staged.let_time_pass)
    await staged.take_up_anew()
    await stage.until(lambda: staged.now().is_over)
    campaign = await staged.over()
    return Storm(staged, quiet.asked, quiet.ended - quiet.began, meanwhile, attempts, campaign)


async def play_refused(staged: Staged, weather: Weather) -> Refused:
    """Wait until it has failed; once the cause is gone, replace the credentials and resume."""
    stage = staged.stage
    await staged.send()
    await stage.until(lambda: staged.refused() > 0 or staged.now().is_over)
    refused_at = time.monotonic()
    await stage.until(lambda: staged.now().is_over)
    failed_after = time.monotonic() - refused_at
    failed = await staged.over()
    requests, suspects = staged.asked(), staged.value(SUSPECTS)
    meanwhile = staged.violations_meanwhile()
    await weather.wait_for_fair()
    await stage.do(staged.put_credentials)
    await staged.send()
    resumed = await staged.over()
    return Refused(staged, failed, failed_after, requests, suspects, meanwhile, resumed)


async def test_a_storm_is_noticed_and_waited_for(plays: Plays) -> None:
    run = await plays.storm

    assert run.noticed_after < QUIET_SECONDS
    assert run.meanwhile == []
    assert 1 <= run.attempts < MOST_TRIES
    assert (run.campaign.status, run.campaign.stats.sent) == ("sent", 8_000)
    assert run.staged.violations(Facts(retry_budget=0.2)) == []


async def test_a_storm_costs_few_requests(plays: Plays) -> None:
    run = await plays.storm

    assert run.requests < STORM_REQUESTS


async def test_a_key_that_is_revoked_stops_the_campaign_which_resumes_with_the_rest(
    plays: Plays,
) -> None:
    run = await plays.revoked

    burnt = run.requests - REVOKED_AFTER
    assert run.failed.failure is not None
    assert run.failed.failure.code == "CREDENTIALS_REFUSED"
    assert run.failed_after < 2
    assert burnt <= 2 * WORKERS * IN_FLIGHT
    assert (run.failed.stats.sent, run.failed.stats.pending) == (REVOKED_AFTER, 5_000)
    assert run.meanwhile == []
    assert (run.resumed.status, run.resumed.stats.sent) == ("sent", 8_000)
    assert run.staged.asked() == 8_000 + burnt
    assert run.staged.violations(Facts(retry_budget=0.05)) == []


@pytest.mark.parametrize("provider", ["apns", "fcm"])
async def test_a_wrong_environment_or_project_stops_the_campaign_in_its_canary(
    plays: Plays, provider: str
) -> None:
    run = await {"apns": plays.wrong_apns, "fcm": plays.wrong_fcm}[provider]

    failure, stats = run.failed.failure, run.failed.stats
    assert failure is not None
    assert failure.code == "WRONG_ENVIRONMENT_OR_TOPIC"
    assert "environment and bundle id for APNs, the Firebase project for FCM" in failure.message
    assert run.requests <= WRONG_REQUESTS
    assert (stats.sent, stats.failed + stats.pending) == (0, 1_000)
    assert stats.pending >= 1_000 - run.requests
    assert run.suspects == 0
    assert run.meanwhile == []
    assert run.staged.violations(Facts(retry_budget=0.05)) == []


@pytest.mark.parametrize("provider", ["apns", "fcm"])
async def test_a_campaign_of_a_wrong_environment_resumes_once_that_is_mended(
    plays: Plays, provider: str
) -> None:
    run = await {"apns": plays.wrong_apns, "fcm": plays.wrong_fcm}[provider]

    assert run.resumed.failure is None
    assert (run.resumed.status, run.resumed.stats.sent) == ("sent", 1_000)


async def test_a_clock_that_is_wrong_stops_the_campaign_and_is_named(plays: Plays) -> None:
    run = await plays.skewed

    assert run.failed.failure is not None
    assert run.failed.failure.code == "CREDENTIALS_REFUSED"
    assert "clock" in run.failed.failure.message
    assert run.requests <= TOKENS_TRIED * CANARY
    assert run.failed.stats.pending == 1_000
    assert (run.resumed.status, run.resumed.stats.sent) == ("sent", 1_000)
    assert run.staged.violations(Facts(retry_budget=0.1)) == []


async def test_an_account_that_google_does_not_know_stops_the_campaign(plays: Plays) -> None:
    run = await plays.stranger

    assert run.failed.failure is not None
    assert run.failed.failure.code == "CREDENTIALS_REFUSED"
    assert run.failed_after < 1
    assert run.failed.stats.pending == 200
    assert (run.resumed.status, run.resumed.stats.sent) == ("sent", 200)
    assert run.staged.violations() == []
