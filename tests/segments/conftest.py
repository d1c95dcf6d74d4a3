"""A real PostgreSQL with a fixed population, for everything that compares SQL with the contract."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text

from tests.segments.population import PROJECT, Population, Row, User, population
from tests.segments.postgres import embedded_binaries, running_postgres

TABLES: Sequence[str] = (
    """
    CREATE TABLE app_users (
      id uuid PRIMARY KEY, project_id uuid NOT NULL, external_id text, email text, phone text,
      display_name text, timezone text, locale text, first_seen_at timestamptz,
      last_seen_at timestamptz, created_at timestamptz, updated_at timestamptz, properties jsonb)
    """,
    """
    CREATE TABLE user_entitlements (
      project_id uuid NOT NULL, app_user_id uuid NOT NULL, entitlement_id text, product_id text,
      store text, period_type text, is_active boolean, purchase_date timestamptz,
      expiration_date timestamptz)
    """,
    """
    CREATE TABLE push_tokens (
      project_id uuid NOT NULL, app_user_id uuid NOT NULL, platform text, provider text,
      app_version text, last_seen_at timestamptz, is_active boolean NOT NULL DEFAULT true)
    """,
    "CREATE INDEX app_users_properties ON app_users USING gin (properties jsonb_path_ops)",
    "CREATE INDEX app_users_email ON app_users (email)",
)


@pytest.fixture(scope="session")
def segment_connection() -> Iterator[Connection]:
    """A connection in autocommit, so that a statement that fails does not spoil the next."""
    with running_postgres(embedded_binaries()) as url:
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as conn:
            conn.execute(text("SET TIME ZONE 'America/New_York'"))
            _ = [conn.execute(text(statement)) for statement in TABLES]
            yield conn
        engine.dispose()


@pytest.fixture(scope="session")
def stored(segment_connection: Connection) -> Population:
    """The population, stored."""
    now: datetime = segment_connection.execute(text("SELECT now()")).scalar_one()
    people = population(now)
    _store(segment_connection, people.users)
    return people


def _store(conn: Connection, people: Sequence[User]) -> None:
    _insert(
        conn,
        "app_users",
        [
            {"id": user.id, "project_id": PROJECT, "properties": user.properties, **user.columns}
            for user in people
        ],
    )
    _insert(conn, "user_entitlements", _owned([(user, user.entitlements) for user in people]))
    _insert(conn, "push_tokens", _owned([(user, user.devices) for user in people]))


def _owned(rows: Sequence[tuple[User, Sequence[Row]]]) -> Sequence[Row]:
    return [
        {"project_id": PROJECT, "app_user_id": user.id, **row}
        for user, owned in rows
        for row in owned
    ]


def _insert(conn: Connection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        names = ", ".join(row)
        conn.execute(
            text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in row)})"),
            dict(row),
        )
