"""PostgreSQL dies, is cut off, or takes nothing more, in the midst of a campaign."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import httpx
import psycopg
import pytest

from activities.delivery import CLAIM_SIZE
from fanfare.dev import postgres
from fanfare.dev.stack import answers
from tests.faults.devices import fcm, rule
from tests.faults.oracle import Facts
from tests.faults.outages import Links, linked, play
from tests.faults.proxy import ChaosProxy
from tests.faults.staging import HELLO, WORKERS, Limits, Stage, Staged
from tests.faults.stops import reaches

AUDIENCE = 4_000
IN_FLIGHT = 300
LIMITS = Limits(max_in_flight=IN_FLIGHT)
BATCHES = AUDIENCE // 1_000 + 1
DEATH_SECONDS, SILENCE_SECONDS, REFUSAL_SECONDS = 7, 25, 10
# A statement of the API has 10 s, and 2 s more to be given up; the rest is for a slow machine.
API_SECONDS = 20
# From the moment that PostgreSQL takes connections. After a silence an activity may have failed,
# and is tried again after 3 s.
RECOVERY_SECONDS = 15
CUTS = 6

# Messages of which the answers are known after a while: some are on the wire when it happens.
SLOW = rule("0f[67]", latency_ms=300)

# Have the tables say what a full disk makes them say, claims first.
TABLES = ("push_batches", "push_deliveries", "push_campaigns")
FULL = (
    """
    CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$
    """,
    *(
        f"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION disk_is_full()"
        for table in TABLES
    ),
)
ROOM = (*(f"DROP TRIGGER full_disk ON {table}" for table in TABLES), "DROP FUNCTION disk_is_full")
END_ALL_OTHERS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND datname = 'fanfare'
"""


@dataclass(frozen=True)
class Said:
    """What the API answered."""

    status: int
    code: str | None
    retry_after: str | None


@pytest.fixture(scope="module")
async def links(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Links]:
    async with linked(tmp_path_factory.mktemp("database")) as links:
        await links.stage.script([SLOW])
        yield links


async def draft(links: Links, prefix: str) -> Staged:
    return await links.stage.campaign(fcm(prefix, AUDIENCE), LIMITS)


async def start_database(stage: Stage) -> None:
    """Start PostgreSQL, and wait until it takes connections."""
    ports, password = stage.stack.ports, stage.stack.secrets.database_password
    stage.stack.postgres.start()
    await stage.until(lambda: postgres.accepts(ports.postgres, password=password))


async def execute(stage: Stage, statements: Sequence[str]) -> None:
    """Each by itself: together they would hold locks that senders wait for."""
    async with await psycopg.AsyncConnection.connect(
        stage.stack.database_url, autocommit=True
    ) as conn:
        for statement in statements:
            await conn.execute(statement.encode())


async def silence(links: Links) -> None:
    links.workers_database.stall()
    links.api_database.stall()


async def end_silence(links: Links) -> None:
    links.workers_database.resume()
    links.api_database.resume()


async def ask_api(staged: Staged, said: list[Said], waited: list[float]) -> None:
    """Read the campaign and write another one."""

    def ask() -> None:
        with staged.http() as http:
            for request in (
                http.build_request("GET", f"/admin/push/{staged.id}"),
                http.build_request("POST", "/admin/push", json=HELLO),
            ):
                began = time.monotonic()
                said.append(_said(http.send(request)))
                waited.append(time.monotonic() - began)

    await staged.stage.do(ask)


def _said(answer: httpx.Response) -> Said:
    error = answer.json().get("error", {})
    return Said(answer.status_code, error.get("code"), answer.headers.get("Retry-After"))


class Crowd:
    """Clients of the server that leave no connection to anybody else."""

    def __init__(self, stage: Stage) -> None:
        password = stage.stack.secrets.database_password
        self._url = postgres.url(stage.stack.ports.postgres, "postgres", password=password)
        self._clients: list[psycopg.Connection] = []

    def come(self) -> None:
        """Take every place that is free, or becomes free. Blocks."""
        self._take_free_places()
        while self._clients[0].execute(END_ALL_OTHERS).fetchone() != (0,):
            self._take_free_places()

    def leave(self) -> None:
        for client in self._clients:
            client.close()

    def _take_free_places(self) -> None:
        with suppress(psycopg.OperationalError):
            while True:
                self._clients.append(psycopg.connect(self._url, autocommit=True))


def is_settlement(data: bytes) -> bool:
    """Of two messages or more: a column's values are parted by that."""
    return b"sent\x1fsent" in data


def has_cut(proxy: ChaosProxy, times: int) -> bool:
    return proxy.cuts == times


UNAVAILABLE = Said(503, "DATABASE_UNAVAILABLE", "5")


async def test_sending_waits_for_a_postgres_that_died_and_repeats_nothing(links: Links) -> None:
    staged, stage = await draft(links, "0f61"), links.stage
    said: list[Said] = []

    run = await play(
        staged,
        partial(stage.do, stage.stack.postgres.kill),
        partial(start_database, stage),
        seconds=DEATH_SECONDS,
        meanwhile=partial(ask_api, staged, said, []),
    )

    assert (run.ended.status, run.ended.stats.sent) == ("sent", AUDIENCE)
    assert run.burst <= WORKERS * IN_FLIGHT
    assert run.during == 0
    assert staged.asked() == AUDIENCE
    assert run.ended.stats.possible_duplicates == 0
    assert run.recovered_after < RECOVERY_SECONDS
    assert said == [UNAVAILABLE, UNAVAILABLE]
    assert await staged.stage.do(staged.violations) == []


async def test_a_worker_that_dies_while_postgres_is_away_repeats_what_it_held(
    links: Links,
) -> None:
    staged, stage = await draft(links, "0f62"), links.stage
    worker, bound = stage.stack.workers[0], BATCHES * CLAIM_SIZE

    async def back() -> None:
        await start_database(stage)
        worker.start()

    run = await play(
        staged,
        partial(stage.do, stage.stack.postgres.kill),
        back,
        seconds=DEATH_SECONDS,
        meanwhile=partial(stage.do, worker.kill),
    )

    assert (run.ended.status, run.ended.stats.sent) == ("sent", AUDIENCE)
    assert run.during == 0
    assert 0 < run.ended.stats.possible_duplicates <= bound
    facts = Facts(repeats=bound, retry_budget=bound / AUDIENCE)
    assert await staged.stage.do(partial(staged.violations, facts)) == []


async def test_a_black_hole_before_postgres_hangs_nobody_and_repeats_nothing(
    links: Links,
) -> None:
    staged = await draft(links, "0f71")
    said: list[Said] = []
    waited: list[float] = []

    run = await play(
        staged,
        partial(silence, links),
        partial(end_silence, links),
        seconds=SILENCE_SECONDS,
        meanwhile=partial(ask_api, staged, said, waited),
    )

    assert (run.ended.status, run.ended.stats.sent) == ("sent", AUDIENCE)
    assert run.burst <= WORKERS * IN_FLIGHT
    assert run.during == 0
    assert staged.asked() == AUDIENCE
    assert run.recovered_after < RECOVERY_SECONDS
    assert said == [UNAVAILABLE, UNAVAILABLE]
    assert max(waited) < API_SECONDS
    assert await staged.stage.do(staged.violations) == []


async def test_nothing_is_sent_while_the_disk_is_full(links: Links) -> None:
    staged, stage = await draft(links, "0f72"), links.stage
    said: list[Said] = []

    run = await play(
        staged,
        partial(execute, stage, FULL),
        partial(execute, stage, ROOM),
        seconds=REFUSAL_SECONDS,
        meanwhile=partial(ask_api, staged, said, []),
    )

    assert (run.ended.status, run.ended.stats.sent) == ("sent", AUDIENCE)
    assert run.burst <= WORKERS * IN_FLIGHT
    assert run.during == 0
    assert staged.asked() == AUDIENCE
    assert run.ended.stats.possible_duplicates == 0
    assert run.recovered_after < RECOVERY_SECONDS
    assert said == [Said(200, None, None), UNAVAILABLE]
    assert await staged.stage.do(staged.violations) == []


async def test_nothing_is_sent_while_every_connection_is_taken(links: Links) -> None:
    staged, stage = await draft(links, "0f73"), links.stage
    crowd, said = Crowd(stage), list[Said]()

    run = await play(
        staged,
        partial(stage.do, crowd.come),
        partial(stage.do, crowd.leave),
        seconds=REFUSAL_SECONDS,
        meanwhile=partial(ask_api, staged, said, []),
    )

    assert (run.ended.status, run.ended.stats.sent) == ("sent", AUDIENCE)
    assert run.during == 0
    assert staged.asked() == AUDIENCE
    assert run.ended.stats.possible_duplicates == 0
    assert run.recovered_after < RECOVERY_SECONDS
    assert said == [UNAVAILABLE, UNAVAILABLE]
    assert await staged.stage.do(staged.violations) == []


async def test_links_that_are_cut_lose_nothing_and_repeat_nothing(links: Links) -> None:
    stage, proxy = links.stage, links.workers_database
    staged = await stage.campaign(fcm("0f63", AUDIENCE), Limits(max_in_flight=100))
    before = proxy.cuts
    await staged.send()
    await reaches(staged, AUDIENCE // 8)

    proxy.cut_answer_to(is_settlement)
    await stage.until(partial(has_cut, proxy, before + 1))
    for cut in range(2, CUTS + 2):
        proxy.cut_after(500 * cut)
        await stage.until(partial(has_cut, proxy, before + cut))
    proxy.half_close()
    ended = await staged.over()

    assert (ended.status, ended.stats.sent) == ("sent", AUDIENCE)
    assert staged.asked() == AUDIENCE
    assert await staged.stage.do(staged.violations) == []
    assert ended.stats.possible_duplicates == 0


async def test_it_is_ready_after_all_that(links: Links) -> None:
    await links.stage.until(lambda: answers(f"{links.stage.stack.api_url}/readyz"))
