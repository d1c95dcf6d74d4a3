"""What an operator sees of a campaign while something is away, and that it goes on by itself."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx

from fanfare.dev.api_client import ApiClient
from fanfare.dev.project import import_seed
from fanfare.dev.seed import Seed
from fanfare.dev.stack import Stack, answers
from fanfare.ids import new_id
from tests.e2e.waiting import until_some_are_sent, until_status

# 1,500 messages a minute: long enough to break something in the middle.
SLOWLY = {"title": "Hello", "body": "Version 2 is here.", "rate_limit": 1_500}
DEVICES = 900

# The database has not heard of anybody for 20 s, or of Temporal for a beat of 5 s and a wait of 4.
NOTICED_WITHIN = 30.0

Json = dict[str, Any]  # Any: JSON


def begin(api: ApiClient) -> str:
    """A campaign in the middle of being sent."""
    seed = Seed(users=700, tokens=DEVICES, now=datetime.now(UTC), number=new_id().int % 2**32)
    import_seed(api, seed, lambda: None)
    created = api.create_campaign(SLOWLY)
    api.send_campaign(created.id)
    until_some_are_sent(api, created.id)
    return str(created.id)


def until(http: httpx.Client, campaign_id: str, *, degraded: str | None) -> Json:
    """The campaign, once it says so."""
    return _until(http, campaign_id, lambda found: _code(found) == degraded)


def _until(http: httpx.Client, campaign_id: str, holds: Callable[[Json], bool]) -> Json:
    limit = time.monotonic() + NOTICED_WITHIN
    while not holds(found := http.get(f"/admin/push/{campaign_id}").json()["data"]):
        assert time.monotonic() < limit, found
    return dict(found)


def _code(found: Json) -> str | None:
    return None if found["degraded"] is None else found["degraded"]["code"]


def test_campaign_without_workers_says_so_until_they_are_back(
    stack: Stack, api: ApiClient, http: httpx.Client
) -> None:
    campaign = begin(api)
    healthy = until(http, campaign, degraded=None)

    for worker in stack.workers:
        worker.kill()
    alone = until(http, campaign, degraded="NO_WORKER")
    unready = httpx.get(f"{stack.api_url}/readyz", timeout=10, trust_env=False)
    for worker in stack.workers:
        worker.start()
    back = until(http, campaign, degraded=None)
    sent = until_status(http, campaign, "sent")

    assert {healthy["status"], alone["status"], back["status"]} == {"sending"}
    assert alone["degraded"]["since"] > alone["created_at"]
    assert (unready.status_code, unready.json()["workers"]["live"]) == (200, 0)
    assert sent["degraded"] is None
    assert sent["stats"]["sent"] == sent["stats"]["audience"] - sent["stats"]["failed"]


def test_campaign_without_temporal_says_so_until_it_is_back(
    stack: Stack, api: ApiClient, http: httpx.Client
) -> None:
    campaign = begin(api)

    stack.temporal.kill()
    lost = until(http, campaign, degraded="TEMPORAL_UNREACHABLE")
    unready = httpx.get(f"{stack.api_url}/readyz", timeout=10, trust_env=False)
    stack.temporal.start()
    stack.temporal.wait_until(lambda: answers(f"{stack.api_url}/readyz"))
    back = until(http, campaign, degraded=None)
    until_status(http, campaign, "sent")

    assert (lost["status"], unready.status_code) == ("sending", 503)
    assert unready.json()["checks"]["temporal"] == {
        "state": "failing",
        "reason": "Temporal does not answer.",
    }
    assert back["degraded"] is None
