"""What becomes of projects that are older than the system segments."""

import pytest
import sqlalchemy as sa

from fanfare.db import migrate
from fanfare.db.engine import driver_url
from fanfare.dev import postgres
from fanfare.ids import new_id
from fanfare.segments.system import SYSTEM_SEGMENTS


@pytest.fixture
def old_database(postgres_port: int) -> str:
    """A schema without memberships."""
    postgres.ensure_database(postgres_port, "before_memberships")
    url = postgres.url(postgres_port, "before_memberships")
    migrate.upgrade(url, "0002")
    return url


def test_a_project_that_is_there_is_given_the_system_segments(old_database: str) -> None:
    engine, project_id = sa.create_engine(driver_url(old_database)), new_id()
    own = "INSERT INTO segments (project_id, id, name, rules) VALUES (:id, 'seg_free', 'own', '{}')"
    with engine.begin() as conn:
        conn.execute(
            sa.text("INSERT INTO projects (id, name) VALUES (:id, 'a')"), {"id": project_id}
        )
        conn.execute(sa.text(own), {"id": project_id})

    migrate.upgrade(old_database)

    with engine.connect() as conn:
        found = conn.execute(
            sa.text("SELECT id, name, description, rules, is_system FROM segments")
        )
        stored = {row.id: row for row in found}
    engine.dispose()
    made = [each for each in SYSTEM_SEGMENTS if each.id != "seg_free"]
    assert [(row.name, row.is_system) for row in stored.values() if row.id == "seg_free"] == [
        ("own", False)
    ]
    assert {row.id for row in stored.values() if row.is_system} == {each.id for each in made}
    assert [tuple(stored[each.id])[1:4] for each in made] == [
        (each.name, each.description, each.rule.model_dump(mode="json", exclude_none=True))
        for each in made
    ]
