"""A database at today's schema, and others who use it while it is migrated to the next one."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from fanfare.db import migrate
from fanfare.dev import postgres
from fanfare.ids import new_id
from tests.faults import next_schema

DEADLINE_SECONDS = 60

# With ACCESS EXCLUSIVE a migration waits for all of them, and an index that is built concurrently
# for those who write.
ALTERS = "query LIKE 'ALTER TABLE%'"
BUILDS = "query LIKE 'CREATE INDEX CONCURRENTLY%'"

IS_VALID = f"SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('{next_schema.INDEX}')"


class Base:
    """A database of the test's own."""

    def __init__(self, port: int) -> None:
        name = f"migrate_{new_id().hex}"
        postgres.ensure_database(port, name)
        self.url = postgres.url(port, name)
        migrate.upgrade(self.url)

    def value(self, query: str) -> object:
        """The one value that a query finds."""
        # Who waits for a lock in vain is to fail, not to hang.
        options = f"-c statement_timeout={DEADLINE_SECONDS // 4}s"
        with psycopg.connect(self.url, autocommit=True, options=options) as conn:
            row = conn.execute(query.encode()).fetchone()
        return None if row is None else row[0]

    def waits(self, what: str) -> Callable[[], bool]:
        """Whether somebody whose statement is like that waits for a lock."""
        query = (
            "SELECT count(*) FROM pg_stat_activity "
            f"WHERE datname = current_database() AND wait_event_type = 'Lock' AND {what}"
        )
        return lambda: self.value(query) == 1

    def terminate(self, what: str) -> None:
        """End whose statement is like that, as a server does that is shut down."""
        self.value(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = current_database() AND pid <> pg_backend_pid() AND {what}"
        )

    def columns(self, table: str) -> int:
        found = self.value(
            f"SELECT count(*) FROM information_schema.columns WHERE table_name = '{table}'"
        )
        assert isinstance(found, int)
        return found

    @contextmanager
    def held(self, statement: str) -> Iterator[psycopg.Connection]:
        """A transaction that has done something, and goes on."""
        with psycopg.connect(self.url) as conn:
            conn.execute(statement.encode())
            yield conn


READS = "SELECT count(*) FROM push_campaigns"
WRITES = "UPDATE push_tokens SET is_active = is_active"


class Output:
    """What a migration says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def says(self, text: str) -> Callable[[], bool]:
        return lambda: any(text in line for line in self.lines)


def migrated(base: Base, output: Output | None = None, revision: str = "head") -> None:
    """Apply the next version's migrations."""
    config = next_schema.configuration(base.url)
    migrate.apply(config, revision, tell=(output or Output()).lines.append)


def until(claim: Callable[[], bool]) -> None:
    """Return when it holds, a minute at most."""
    limit = time.monotonic() + DEADLINE_SECONDS
    while not claim():
        assert time.monotonic() < limit
        time.sleep(0.02)


def seconds_of(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
