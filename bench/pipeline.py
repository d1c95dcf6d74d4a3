"""A whole campaign through every process of one machine: how many a second, and who pays.

    python -m bench.pipeline [--tokens 200000] [--workers 1] [--latency-ms 0]

Half of the devices are APNs', half FCM's, all are accepted, the ledger is on, and nothing limits
the credentials. The audience is written straight into PostgreSQL: the import is not what is
measured. CPU is user and system time by process, from just before /send to the status `sent`.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import httpx
import psycopg
from temporalio.client import Client

from bench.accounts import MemoryWatch, count_statements, cpu_seconds, statements
from fanfare.dev.api_client import ApiClient, Campaign
from fanfare.dev.project import register
from fanfare.dev.stack import Ports, Stack
from workflows import starter

RESULTS = Path(__file__).parent / "results"

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
class Load:
    """What is sent, by how many workers, to a provider that answers after so many ms."""

    tokens: int
    workers: int
    latency_ms: int


@dataclass(frozen=True, slots=True)
class Run:
    """One campaign's course: its duration, and the milliseconds of each GET meanwhile."""

    campaign: Campaign
    seconds: float
    gets: list[float]


@dataclass(frozen=True, slots=True)
class Report:
    """One campaign's figures; CPU in microseconds a message, memory in MiB, by process."""

    load: Load
    cores: int
    python: str
    at: str
    seconds: float
    messages_per_second: int
    cpu_us_per_message: Mapping[str, float]
    peak_mebibytes: Mapping[str, int]
    statements_per_1000: float
    ledger_bytes_per_message: float
    history_events: int
    get_ms_p50: float
    get_ms_p99: float


def main() -> None:
    """Run one campaign, print its figures and keep them."""
    load = _arguments()
    with (
        TemporaryDirectory(prefix="fanfare-bench-") as home,
        Stack.running(Path(home), Ports.find(preferred=False), workers=load.workers) as stack,
    ):
        report = measure(stack, load)
    text = json.dumps(asdict(report), indent=1)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    name = f"pipeline-{load.tokens}-{load.workers}w-{load.latency_ms}ms.json"
    (RESULTS / name).write_text(text + "\n")


def measure(stack: Stack, load: Load) -> Report:
    """Send one broadcast over the running stack. Exits where not all of it was accepted."""
    count_statements(stack)
    project = register(stack, "bench")
    _prepare(stack, project.project_id, load)
    cpu, ran = cpu_seconds(stack.parts), statements(stack)
    with MemoryWatch(stack.parts) as memory:
        run = _send(stack, project.api_key)
    spent = {name: used - cpu[name] for name, used in cpu_seconds(stack.parts).items()}
    ran = statements(stack) - ran
    if run.campaign.stats.sent != load.tokens:
        raise SystemExit(f"not all were sent: {run.campaign}")
    return Report(
        load=load,
        cores=os.cpu_count() or 0,
        python=platform.python_version(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(run.seconds, 2),
        messages_per_second=round(load.tokens / run.seconds),
        cpu_us_per_message={name: round(s * 1e6 / load.tokens, 1) for name, s in spent.items()},
        peak_mebibytes=memory.peaks,
        statements_per_1000=round(ran * 1000 / load.tokens, 1),
        ledger_bytes_per_message=round(_ledger_bytes(stack) / load.tokens, 1),
        history_events=asyncio.run(_history_events(stack, run.campaign.id)),
        get_ms_p50=round(statistics.median(run.gets), 1),
        get_ms_p99=round(statistics.quantiles(run.gets, n=100)[98], 1),
    )


def _arguments() -> Load:
    parser = argparse.ArgumentParser("bench.pipeline", description=__doc__)
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--latency-ms", type=int, default=0)
    return Load(**vars(parser.parse_args()))


def _prepare(stack: Stack, project_id: UUID, load: Load) -> None:
    with psycopg.connect(stack.database_url) as conn:
        conn.execute(_FILL, {"project": project_id, "count": load.tokens})
    if load.latency_ms:
        rule = {"match": {}, "answer": {"latency_ms": load.latency_ms}}
        httpx.post(f"{stack.simulator_url}/script", json=[rule]).raise_for_status()


def _send(stack: Stack, key: str) -> Run:
    gets = []
    with ApiClient(stack.api_url, key) as api:
        created = api.create_campaign({"title": "Bench", "body": "How many a second?"})
        began = time.monotonic()
        api.send_campaign(created.id)
        while True:
            asked = time.monotonic()
            campaign = api.campaign(created.id)
            gets.append((time.monotonic() - asked) * 1000)
            if campaign.is_over:
                return Run(campaign, time.monotonic() - began, gets)
            time.sleep(0.1)


def _ledger_bytes(stack: Stack) -> int:
    query = """
        SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits
        WHERE inhparent = 'push_deliveries'::regclass
    """
    with psycopg.connect(stack.database_url) as conn:
        row = conn.execute(query).fetchone()
    assert row is not None
    return int(row[0])


async def _history_events(stack: Stack, campaign_id: UUID) -> int:
    client = await Client.connect(stack.temporal_address)
    workflow = starter.workflow_id(campaign_id)
    runs = [run async for run in client.list_workflows(f"WorkflowId = '{workflow}'")]
    return sum(run.history_length for run in runs)


if __name__ == "__main__":
    main()
