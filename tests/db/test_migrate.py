"""Migrations are an operator's: they wait briefly, say for whom, and finish what was killed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from fanfare.db import migrate
from fanfare.db.migration_locks import LOCK_TIMEOUT
from fanfare.dev.processes import ChildProcess, free_ports
from tests.db.migrating import (
    ALTERS,
    BUILDS,
    IS_VALID,
    READS,
    WRITES,
    Base,
    Output,
    migrated,
    seconds_of,
    until,
)
from tests.faults import next_schema

CHECKOUT = Path(__file__).parents[2]

# What a busy machine adds.
SLACK_SECONDS = 1.0

CLAIMS = "SELECT 1 FROM push_campaigns FOR SHARE"


@pytest.fixture
def base(postgres_port: int) -> Base:
    return Base(postgres_port)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


@pytest.fixture
def beside(base: Base, tmp_path: Path) -> Iterator[ChildProcess]:
    """Another machine's migration of the same database. Not started yet."""
    process = ChildProcess(
        "migration",
        [sys.executable, "-m", "tests.faults.next_schema"],
        tmp_path / "log",
        environment={"FANFARE_DATABASE_URL": base.url},
        directory=CHECKOUT,
    )
    yield process
    process.kill()


def command(module: str, url: str) -> "subprocess.CompletedProcess[str]":
    """Migrate as an operator does."""
    return subprocess.run(
        [sys.executable, "-m", module],
        env={**os.environ, "FANFARE_DATABASE_URL": url},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_nobody_waits_long_behind_a_migration_that_waits(
    base: Base, threads: ThreadPoolExecutor
) -> None:
    output = Output()
    with base.held(READS):
        migration = threads.submit(migrated, base, output)
        until(base.waits(ALTERS))
        waited = seconds_of(lambda: base.value(CLAIMS))
        until(output.says("trying again"))
        still_holds = migration.running()

    migration.result(60)

    assert still_holds
    assert waited < LOCK_TIMEOUT.total_seconds() + SLACK_SECONDS
    assert migrate.current_revision(base.url) == next_schema.HEAD


def test_a_migration_says_for_whom_it_waits(base: Base, threads: ThreadPoolExecutor) -> None:
    output = Output()
    with base.held(READS) as holder:
        migration = threads.submit(migrated, base, output)
        until(output.says("waiting for process"))
        pid = holder.info.backend_pid
    migration.result(60)

    assert f"process {pid} of fanfare from 127.0.0.1 (idle in transaction" in output.lines[0]


def test_a_migration_that_is_given_up_has_changed_nothing(base: Base) -> None:
    config, columns = next_schema.configuration(base.url), base.columns("push_campaigns")

    with base.held("SELECT count(*) FROM push_tokens"), pytest.raises(migrate.TablesHeld):
        migrate.apply(config, patience=timedelta(0))

    # Before the last of its tables it had changed the others.
    assert base.columns("push_campaigns") == columns
    assert migrate.current_revision(base.url) != "next_1"


def test_two_migrations_at_once_do_not_wait_for_each_other(
    base: Base, threads: ThreadPoolExecutor, beside: ChildProcess
) -> None:
    migrated(base, revision="next_1")
    output = Output()
    with base.held(WRITES):
        first = threads.submit(migrated, base, output)
        until(base.waits(BUILDS))
        beside.start()
        until(lambda: beside.has_logged("another migration is under way: waiting for process"))
    first.result(60)
    until(lambda: beside.has_logged(f"database is at {next_schema.HEAD}"))

    # As it would where PostgreSQL had to end a deadlock of the two.
    assert not output.says("stepped aside")()
    assert base.value(IS_VALID) is True
    assert migrate.current_revision(base.url) == next_schema.HEAD


def test_killed_migration_is_finished_by_the_next(
    base: Base, threads: ThreadPoolExecutor, beside: ChildProcess
) -> None:
    migrated(base, revision="next_1")
    with base.held(WRITES):
        beside.start()
        until(base.waits(BUILDS))
        beside.kill()
        second = threads.submit(migrated, base)
    second.result(60)

    assert base.value(IS_VALID) is True
    assert migrate.current_revision(base.url) == next_schema.HEAD


def test_index_that_was_left_half_built_is_built_anew(
    base: Base, threads: ThreadPoolExecutor
) -> None:
    migrated(base, revision="next_1")
    with base.held(WRITES):
        first = threads.submit(migrated, base)
        until(base.waits(BUILDS))
        base.terminate(BUILDS)
        with pytest.raises(OperationalError):
            first.result(60)
    left = base.value(IS_VALID)

    migrated(base)

    assert left is False
    assert base.value(IS_VALID) is True


def test_a_server_that_is_away_is_said_in_a_line() -> None:
    port = free_ports({"nobody": 0})["nobody"]

    ended = command("fanfare.db.migrate", f"postgresql://fanfare:secret@127.0.0.1:{port}/fanfare")

    assert ended.returncode == 1
    assert ended.stdout.startswith("PostgreSQL does not answer, or went away. Run this again.")
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("program", ["fanfare.db.migrate", "fanfare.db.adopt"])
@pytest.mark.parametrize("scheme", ["mysql", "postgresql+psycopg"])
def test_an_address_that_cannot_be_meant_is_said_in_a_line(program: str, scheme: str) -> None:
    ended = command(program, f"{scheme}://fanfare:secret@127.0.0.1/fanfare")

    assert ended.returncode == 1
    assert ended.stderr == "FANFARE_DATABASE_URL must begin with postgresql://\n"


def test_a_newer_database_is_left_as_it_is(base: Base) -> None:
    first = command("tests.faults.next_schema", base.url)
    second = command("fanfare.db.migrate", base.url)

    assert first.stdout.splitlines()[-1] == "database is at next_3"
    assert second.stdout.splitlines() == [
        "the database is newer than this code: next_3 is unknown here",
        "database is at next_3",
    ]
    # A roll-back runs the older version's migration before its workers.
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_migration_can_be_undone_while_others_work(base: Base) -> None:
    config = next_schema.configuration(base.url)
    migrated(base)

    migrate.undo(config, "next_1")

    assert base.value(IS_VALID) is None
    assert migrate.current_revision(base.url) == "next_1"


def test_a_refusal_of_the_server_is_said_in_its_own_words(base: Base) -> None:
    with psycopg.connect(base.url, autocommit=True) as conn:
        conn.execute("ALTER TABLE push_tokens ADD COLUMN next_note text")

    ended = command("tests.faults.next_schema", base.url)

    assert ended.returncode == 1
    assert 'column "next_note" of relation "push_tokens" already exists' in ended.stdout
    assert "Traceback" not in ended.stderr
