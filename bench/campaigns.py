"""A project with devices on a running stack, and a campaign to all of them."""

import time
from dataclasses import dataclass
from uuid import UUID

import httpx
import psycopg

from fanfare.dev.api_client import ApiClient, Campaign, NewProject
from fanfare.dev.project import register
from fanfare.dev.stack import Stack

LOOK_SECONDS = 0.1

_CAMPAIGN = {"title": "Bench", "body": "How many a second?"}

_FILL = """
    WITH people AS (
        INSERT INTO app_users (project_id, id, external_id)
        SELECT %(project)s, gen_random_uuid(), 'user-' || n FROM generate_series(1, %(count)s) AS n
        RETURNING id, substr(external_id, 6)::int AS n
    )
    INSERT INTO push_tokens (project_id, app_user_id, token, platform, provider, environment)
    SELECT %(project)s, id,
        CASE n %% 2 WHEN 0 THEN 'a' || lpad(to_hex(n), 63, '0')
            ELSE 'device-' || n || ':' || repeat('x', 120) END,
        CASE n %% 2 WHEN 0 THEN 'ios' ELSE 'android' END,
        CASE n %% 2 WHEN 0 THEN 'apns' ELSE 'fcm' END, 'production'
    FROM people
"""


@dataclass(frozen=True, slots=True)
class Run:
    """A campaign that is through, and how long it took from /send to `sent`."""

    campaign: Campaign
    seconds: float


def project_with_devices(stack: Stack, tokens: int) -> NewProject:
    """A project with so many devices, half APNs', half FCM's, whose credentials have no limits.

    Straight into PostgreSQL: the import is not what is measured, nor what PostgreSQL would do
    after it of its own accord.
    """
    project = register(stack, "bench")
    with psycopg.connect(stack.database_url, autocommit=True) as conn:
        conn.execute(_FILL, {"project": project.project_id, "count": tokens})
        conn.execute("VACUUM (ANALYZE) app_users, push_tokens")
    return project


def answer_after(stack: Stack, milliseconds: int) -> None:
    """Have the simulator take so long for each answer, as a provider far away does."""
    rule = {"match": {}, "answer": {"latency_ms": milliseconds}}
    httpx.post(f"{stack.simulator_url}/script", json=[rule]).raise_for_status()


def limit_in_flight(stack: Stack, project: NewProject, messages: int) -> None:
    """Let each worker have so many messages on the wire with each of the project's credentials."""
    query = "UPDATE credentials SET max_in_flight = %s WHERE project_id = %s"
    with psycopg.connect(stack.database_url) as conn:
        conn.execute(query, [messages, project.project_id])


def begin(api: ApiClient) -> UUID:
    """Create a broadcast and have it sent."""
    campaign_id = api.create_campaign(_CAMPAIGN).id
    api.send_campaign(campaign_id)
    return campaign_id


def send(stack: Stack, project: NewProject, tokens: int) -> Run:
    """Send a broadcast and wait for its end. Exits where not all of it was accepted."""
    with ApiClient(stack.api_url, project.api_key) as api:
        began = time.monotonic()
        campaign_id = begin(api)
        while not (campaign := api.campaign(campaign_id)).is_over:
            time.sleep(LOOK_SECONDS)
        run = Run(campaign, time.monotonic() - began)
    if campaign.stats.sent != tokens:
        raise SystemExit(f"not all were sent: {campaign}")
    return run
