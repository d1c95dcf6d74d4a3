"""The schema: one head, tables as migrated, and no row outside its project."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from fanfare.db import migrate
from fanfare.db.engine import driver_url
from fanfare.db.tables import metadata
from fanfare.dev import postgres

# `projects` is the project; a key is how a caller's project becomes known; `installation` is about
# the database, and workers work for all.
OUTSIDE = {"projects", "api_keys", "installation", "workers"}

WALLED = [table for table in metadata.sorted_tables if table.name not in OUTSIDE]


@pytest.fixture(scope="module")
def conn(database_url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(driver_url(database_url))
    with engine.connect() as conn:
        yield conn
    engine.dispose()


def _is_ours(name: str | None, kind: str, _: object) -> bool:
    # Partitions are made as time goes on.
    return not (kind == "table" and str(name).startswith("push_deliveries_"))


def test_there_is_one_head(database_url: str) -> None:
    scripts = ScriptDirectory.from_config(migrate.configuration(database_url))

    assert scripts.get_heads() == [migrate.current_revision(database_url)]


def test_tables_are_what_migrations_make(conn: sa.Connection) -> None:
    context = MigrationContext.configure(conn, opts={"include_name": _is_ours})

    assert compare_metadata(context, metadata) == []


def test_migrations_can_be_undone(postgres_port: int) -> None:
    postgres.ensure_database(postgres_port, "undone")
    url = postgres.url(postgres_port, "undone")

    migrate.upgrade(url)
    migrate.downgrade(url)
    migrate.upgrade(url)

    assert migrate.current_revision(url) is not None


@pytest.mark.parametrize("table", WALLED, ids=lambda table: table.name)
def test_every_unique_key_begins_with_the_project(table: sa.Table) -> None:
    keys = [list(table.primary_key.columns)]
    keys += [
        list(unique.columns)
        for unique in table.constraints
        if isinstance(unique, sa.UniqueConstraint)
    ]
    keys += [list(index.columns) for index in table.indexes if index.unique]

    assert {key[0].name for key in keys} == {"project_id"}


@pytest.mark.parametrize("table", WALLED, ids=lambda table: table.name)
def test_the_http_door_sees_no_row_without_a_project(conn: sa.Connection, table: sa.Table) -> None:
    query = sa.text("SELECT relrowsecurity FROM pg_class WHERE oid = cast(:name AS regclass)")

    assert conn.scalar(query, {"name": table.name}) is True
