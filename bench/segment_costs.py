"""What each index of the users costs those who write: with all of them, and without that one."""

import time
from dataclasses import dataclass

import psycopg
from psycopg import sql

from bench.segment_population import PROJECT

ROWS = 20_000
ROUNDS = 3

_INDEXES = (
    "ix_app_users_properties",
    "ix_app_users_project_id_last_seen_at",
    "ix_app_users_project_id_first_seen_at",
)
# As an app reports that a user was seen, and as an import adds users.
_UPDATE = """
    UPDATE app_users SET last_seen_at = now()
    WHERE project_id = %(project)s AND mod(substr(external_id, 6)::int, 50) = %(round)s
"""
_INSERT = """
    INSERT INTO app_users (project_id, id, external_id, properties, first_seen_at, last_seen_at)
    SELECT project_id, uuidv7(), 'new-' || external_id, properties, now(), now()
    FROM app_users
    WHERE project_id = %(project)s AND mod(substr(external_id, 6)::int, 50) = %(round)s
"""


@dataclass(frozen=True, slots=True)
class IndexCost:
    """An index's size, and the microseconds a row of writing with it and without it."""

    name: str
    mebibytes: int
    update_us: float
    update_us_without: float
    insert_us: float
    insert_us_without: float

    def describe(self) -> str:
        """As ratios: only those of one run compare."""
        update, insert = self.update_us_without, self.insert_us_without
        return (
            f"update {self.update_us:.1f} us a row, {self.update_us / update:.2f} times as without"
            f"; insert {self.insert_us:.1f} us, {self.insert_us / insert:.2f} times"
        )


def index_costs(url: str) -> list[IndexCost]:
    """Write some users with and without each index; everything is undone."""
    with psycopg.connect(url, autocommit=True) as conn:
        return [_cost(conn, name) for name in _INDEXES]


def _cost(conn: psycopg.Connection, name: str) -> IndexCost:
    size = conn.execute("SELECT pg_relation_size(%s::regclass) / 1024 / 1024", [name]).fetchone()
    assert size is not None
    return IndexCost(
        name,
        int(size[0]),
        _us_a_row(conn, _UPDATE, None),
        _us_a_row(conn, _UPDATE, name),
        _us_a_row(conn, _INSERT, None),
        _us_a_row(conn, _INSERT, name),
    )


def _us_a_row(conn: psycopg.Connection, statement: str, without: str | None) -> float:
    """The best of some rounds."""
    return min(_round(conn, statement, without, number) for number in range(ROUNDS))


def _round(conn: psycopg.Connection, statement: str, without: str | None, number: int) -> float:
    with conn.transaction(force_rollback=True):
        if without is not None:
            conn.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(without)))
        began = time.perf_counter()
        written = conn.execute(statement, {"project": PROJECT, "round": number}).rowcount
        return (time.perf_counter() - began) * 1e6 / written
