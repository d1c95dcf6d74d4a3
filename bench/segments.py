"""Segments over a million users: previews, the refresh, and the freezing of an audience.

    python -m bench.segments [--plans]

1,000,000 users with properties, 1,200,000 devices and another project's users beside them, on the
embedded PostgreSQL as `make dev` has it. Every figure is of the code that serves it: a preview is
what the route runs, a refresh what the activity runs, an audience what the campaign freezes.
"""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa
from temporalio.testing import ActivityEnvironment

from activities.segments import Segments
from bench.records import Line, keep
from bench.segment_costs import IndexCost, index_costs
from bench.segment_memory import PrivateMemory
from bench.segment_plans import plan_of
from bench.segment_population import PROJECT, TOKENS, USERS, fill
from bench.segment_rules import Asked, broad, own_segments, selective
from fanfare import logs
from fanfare.db import audience, campaigns, migrate, previews, segments
from fanfare.db.audience import BatchSizes
from fanfare.db.campaigns import NewCampaign
from fanfare.db.engine import API_ROLE, Database
from fanfare.db.segments import NewSegment
from fanfare.db.tables import app_users
from fanfare.dev import postgres
from fanfare.dev.processes import ChildProcess, free_ports
from fanfare.models import Content, ProjectCtx
from fanfare.segments.compiler import compile_rule
from fanfare.segments.grammar import parse_rules
from workflows.segments import WINDOW
from workflows.stubs import SegmentCounts, SegmentKey

ROUNDS = 3
REFRESH_SECONDS = 60
FREEZE_SECONDS_A_MILLION = 10

_PROJECT = ProjectCtx(PROJECT)
_ONE_IN_A_HUNDRED = """
    UPDATE app_users SET last_seen_at = now(), properties = properties || '{"cohort": "cohort-7"}'
    WHERE project_id = :project AND mod(substr(external_id, 6)::int, 100) = 42
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """A time in milliseconds, what it may be, and how many users or devices it was about."""

    name: str
    ms: float
    limit_ms: int | None
    rows: int
    plan: Sequence[str] = ()

    @property
    def is_missed(self) -> bool:
        return self.limit_ms is not None and self.ms > self.limit_ms


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured. Memory is what no process shares with another, in MiB."""

    cores: int
    postgres: str
    users: int
    tokens: int
    previews: Sequence[Figure]
    refreshes: Sequence[Figure]
    freezes: Sequence[Figure]
    memory_mebibytes: dict[str, int]
    index_costs: Sequence[IndexCost]


def main() -> None:
    """Measure all, print the figures and keep them."""
    parser = argparse.ArgumentParser("bench.segments", description=__doc__)
    parser.add_argument("--plans", action="store_true", help="print each preview's plan too")
    run(plans=parser.parse_args().plans)


def run(*, plans: bool) -> Sequence[Line]:
    """Measure all, show and keep it. Returns the figures in short."""
    logs.configure("warning")
    with TemporaryDirectory(prefix="fanfare-bench-") as home:
        server = _start(Path(home))
        try:
            report = asyncio.run(measure(server))
        finally:
            server.process.stop()
    show(report, plans=plans)
    keep("segments", asdict(report))
    figures = (*report.previews, *report.refreshes, *report.freezes)
    return [(each.name, f"{each.ms:,.0f} ms{' MISSED' * each.is_missed}") for each in figures]


@dataclass(frozen=True, slots=True)
class Server:
    process: ChildProcess
    url: str


async def measure(server: Server) -> Report:
    """Fill the database and ask everything of it."""
    now = datetime.now(UTC)
    fill(server.url)
    api, worker = Database(server.url, role=API_ROLE), Database(server.url)
    try:
        version = await _version(worker)
        asked = [await _preview(api, each) for each in (*selective(now), *broad(now))]
        with PrivateMemory(server.process) as memory:
            refreshes = await _refreshes(worker, now)
            freezes = await _freezes(worker)
    finally:
        await api.close()
        await worker.close()
    return Report(
        cores=os.cpu_count() or 0,
        postgres=version,
        users=USERS,
        tokens=TOKENS,
        previews=asked,
        refreshes=refreshes,
        freezes=freezes,
        memory_mebibytes=memory.peaks,
        index_costs=index_costs(server.url),
    )


def show(report: Report, *, plans: bool) -> None:
    """Print the figures as a table, with what was missed and by how much."""
    print(f"{report.cores} cores, PostgreSQL {report.postgres}, {report.users:,} users")
    for figure in (*report.previews, *report.refreshes, *report.freezes):
        ratio = figure.ms / figure.limit_ms if figure.limit_ms else 0
        verdict = "" if not ratio else f"{ratio:5.2f} of the limit{' MISSED' * figure.is_missed}"
        print(f"{figure.name:42} {figure.rows:>9,} {figure.ms:>9,.0f} ms  {verdict}")
        print("".join(f"    {line}\n" for line in figure.plan if plans), end="")
    print("peak private memory, MiB:", report.memory_mebibytes)
    for cost in report.index_costs:
        print(f"{cost.name:42} {cost.mebibytes:>5} MiB  {cost.describe()}")


async def _preview(api: Database, asked: Asked) -> Figure:
    condition = compile_rule(parse_rules(asked.rules))
    counts, times = set(), []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        async with api.audience() as conn:
            counts.add((await previews.preview(conn, _PROJECT, condition)).count)
        times.append((time.perf_counter() - began) * 1000)
    plan = await _plan(api, condition)
    return Figure(asked.name, statistics.median(times), asked.limit_ms, max(counts), plan)


async def _plan(api: Database, condition: sa.ColumnElement[bool]) -> Sequence[str]:
    counting = sa.select(sa.func.count()).select_from(app_users)
    async with api.audience() as conn:
        return await plan_of(conn, counting.where(app_users.c.project_id == PROJECT, condition))


async def _refreshes(worker: Database, now: datetime) -> Sequence[Figure]:
    async with worker.transaction() as conn:
        await segments.create_system(conn, _PROJECT)
        for segment_id, rules in own_segments(now).items():
            new = NewSegment(segment_id, rules, id=segment_id)
            await segments.create(conn, _PROJECT, new)
        ids = await segments.ids_after(conn, _PROJECT, None, 100)
    first = await _refresh(worker, f"first refresh of {len(ids)} segments", ids)
    second = await _refresh(worker, "refresh where nothing changed", ids)
    async with worker.transaction() as conn:
        await conn.execute(sa.text(_ONE_IN_A_HUNDRED), {"project": PROJECT})
    third = await _refresh(worker, "refresh where one in a hundred changed", ids)
    return [first, second, third]


async def _refresh(worker: Database, name: str, ids: Sequence[str]) -> Figure:
    """As RefreshSegments does it: so many at once. Rows are those that were written."""
    refreshing, waiting, done = Segments(worker), iter(ids), []

    async def work() -> None:
        for segment_id in waiting:
            key = SegmentKey(project_id=PROJECT, segment_id=segment_id)
            counts = await ActivityEnvironment().run(refreshing.refresh_segment, key)
            assert isinstance(counts, SegmentCounts)
            done.append(counts.entered + counts.left)

    ms = await _timed(lambda: asyncio.gather(*(work() for _ in range(WINDOW))))
    return Figure(name, ms, REFRESH_SECONDS * 1000, sum(done))


async def _freezes(worker: Database) -> Sequence[Figure]:
    rules = {"field": "properties.level", "op": "lt", "value": 84}
    some = compile_rule(parse_rules(rules))
    return [
        await _freeze(worker, "freezing those of a rule over properties", some),
        await _freeze(worker, "freezing everyone", sa.true()),
    ]


async def _freeze(worker: Database, name: str, rule: sa.ColumnElement[bool]) -> Figure:
    sizes: list[int] = []

    async def freeze() -> None:
        async with worker.transaction() as conn:
            frozen = await audience.freeze(conn, campaign, rule, BatchSizes())
            sizes.append(frozen.audience)

    async with worker.transaction() as conn:
        new = NewCampaign(name, Content("Hi", "There", {}))
        draft = await campaigns.create(conn, _PROJECT, new)
        campaign = await campaigns.begin_sending(conn, _PROJECT, draft.id)
    ms = await _timed(freeze)
    limit_ms = round(FREEZE_SECONDS_A_MILLION * sizes[0] / 1000)
    return Figure(name, ms, limit_ms, sizes[0])


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1000


async def _version(database: Database) -> str:
    async with database.transaction() as conn:
        return str((await conn.execute(sa.text("SHOW server_version"))).scalar_one())


def _start(home: Path) -> Server:
    port = free_ports({"postgres": 0})["postgres"]
    process = postgres.server(home / "data", port=port, log=home / "log")
    process.start()
    process.wait_until(lambda: postgres.accepts(port))
    postgres.ensure_database(port, "bench")
    url = postgres.url(port, "bench")
    migrate.upgrade(url)
    return Server(process, url)


if __name__ == "__main__":
    main()
