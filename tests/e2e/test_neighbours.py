"""Campaigns of several projects on the same workers."""

from collections.abc import Sequence
from contextlib import ExitStack
from uuid import UUID

import httpx
import psycopg

from fanfare.dev.api_client import ApiClient
from fanfare.dev.project import register
from fanfare.dev.stack import Stack
from tests.e2e.test_campaigns import HELLO, populate
from tests.e2e.waiting import until_held, until_over

# Each has more batches than the 16 that a campaign has under way at once; together they have
# more under way than the two workers had slots, when a slot was for a batch that sends.
HELD = ["held-a", "held-b", "held-c"]
DEVICES = 17_000
# Long enough that all three are held when the fourth has been sent, on a machine that is busy.
HOLD_SECONDS = 30

_FILL = """
    WITH people AS (
        INSERT INTO app_users (project_id, id, external_id)
        SELECT %(project)s, gen_random_uuid(), 'user-' || n FROM generate_series(1, %(count)s) AS n
        RETURNING id, external_id
    )
    INSERT INTO push_tokens (project_id, app_user_id, token, platform, provider, environment)
    SELECT %(project)s, id, %(prefix)s || '-' || external_id, 'android', 'fcm', 'production'
    FROM people
"""


def test_campaigns_that_a_provider_holds_do_not_hold_up_others(
    stack: Stack, api: ApiClient
) -> None:
    populate(api, users=20, tokens=20)
    throttle_midway(stack, HELD)
    with ExitStack() as clients:
        held = [draft_large_campaign(stack, clients, prefix) for prefix in HELD]
        for client, campaign_id in held:
            client.send_campaign(campaign_id)
        waiting = [until_held(*campaign) for campaign in held]

        created = api.create_campaign(HELLO)
        api.send_campaign(created.id)
        sent = until_over(api, created.id)
        meanwhile = [client.campaign(campaign_id) for client, campaign_id in held]
        ended = [until_over(*campaign) for campaign in held]

    assert sent.stats.sent == 20
    assert None not in [campaign.held_until for campaign in (*waiting, *meanwhile)]
    assert [campaign.stats.sent for campaign in ended] == [DEVICES] * len(HELD)


def throttle_midway(stack: Stack, prefixes: Sequence[str]) -> None:
    """Have FCM say after some thousand messages of each that the project's quota is spent."""
    answer = {"status": 429, "reason": "RATE_LIMIT_EXCEEDED", "retry_after": HOLD_SECONDS}
    rules = [
        {"match": {"token": f"^{prefix}", "after": 3_000, "first": 20}, "answer": answer}
        for prefix in prefixes
    ]
    httpx.post(f"{stack.simulator_url}/script", json=rules, trust_env=False).raise_for_status()


def draft_large_campaign(stack: Stack, clients: ExitStack, prefix: str) -> tuple[ApiClient, UUID]:
    """A campaign in a project of its own, to devices whose tokens begin so."""
    project = register(stack, prefix)
    values = {"project": project.project_id, "count": DEVICES, "prefix": prefix}
    with psycopg.connect(stack.database_url) as conn:
        conn.execute(_FILL, values)
    api = clients.enter_context(ApiClient(stack.api_url, project.api_key))
    return api, api.create_campaign(HELLO).id
