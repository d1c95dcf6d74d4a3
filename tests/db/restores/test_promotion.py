"""A standby that is promoted is on another timeline from its first moment on."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from fanfare.db import installation, migrate
from fanfare.db.connections import BoundedConnection
from fanfare.db.installation import Guard
from fanfare.dev import postgres
from fanfare.dev.processes import free_ports
from fanfare.errors import DatabaseUnavailable


@pytest.fixture
def standby(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database whose server waits to be promoted."""
    home = tmp_path_factory.mktemp("standby")
    port = free_ports({"postgres": 0})["postgres"]
    _first_life(home, port)
    (home / "data" / "standby.signal").touch()
    server = postgres.server(home / "data", port=port, log=home / "log")
    server.start()
    server.wait_until(lambda: postgres.accepts(port))
    yield postgres.url(port)
    server.stop()


def _first_life(home: Path, port: int) -> None:
    server = postgres.server(home / "data", port=port, log=home / "log")
    server.start()
    server.wait_until(lambda: postgres.accepts(port))
    postgres.ensure_database(port)
    migrate.upgrade(postgres.url(port))
    server.stop()


async def test_standby_lets_nobody_claim_and_is_held_once_it_is_promoted(standby: str) -> None:
    guard = Guard()
    async with await BoundedConnection[TupleRow].connect(standby, autocommit=True) as conn:
        with pytest.raises(DatabaseUnavailable):
            await guard.check(conn)

    async with await psycopg.AsyncConnection.connect(standby, autocommit=True) as conn:
        await conn.execute("SELECT pg_promote()")
        is_home = (await installation.read(conn)).is_home
        await guard.check(conn)
        is_home_now = (await installation.read(conn)).is_home

    assert (is_home, is_home_now) == (False, True)
