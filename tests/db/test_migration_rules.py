"""What a migration may do while the version before it works, held by what each one does.

A database is migrated one revision at a time; its catalogue before and after, and the statements
between, say the rest. New tables are nobody's yet: only what was there before is looked at.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from fanfare.db import migrate
from fanfare.db.engine import driver_url
from fanfare.dev import postgres
from tests.faults import next_schema

# They ran before anybody sent by what they change.
BEFORE_THE_RULES = frozenset({"0001", "0002", "0003", "0004", "0005"})

FILES = """
    SELECT relname, relfilenode FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
"""
# By table and name: its type, and whether an INSERT has to name it.
COLUMNS = """
    SELECT table_name, column_name, data_type, is_nullable = 'NO' AND column_default IS NULL
    FROM information_schema.columns WHERE table_schema = 'public'
"""

# What reads a whole table while nobody may write to it, by the table that it is done to.
SLOW = [
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"^\s*CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY\b).*?\bON (?:ONLY )?(\w+)",
        r"^\s*ALTER TABLE (\w+) ADD (?:CONSTRAINT|CHECK|FOREIGN|UNIQUE|PRIMARY)\b(?!.*NOT VALID)",
        r"^\s*ALTER TABLE (\w+) ALTER (?:COLUMN )?\w+ SET NOT NULL",
        r"^\s*(?:LOCK|TRUNCATE|CLUSTER|REINDEX)(?: TABLE)? (\w+)",
    )
]


@dataclass(frozen=True)
class Catalogue:
    """Of each table its file, which a rewrite replaces, and its columns."""

    files: Mapping[str, int]
    columns: Mapping[tuple[str, str], tuple[str, bool]]

    @classmethod
    def read(cls, conn: sa.Connection) -> "Catalogue":
        files = {row[0]: row[1] for row in conn.execute(sa.text(FILES))}
        columns = {(row[0], row[1]): (row[2], row[3]) for row in conn.execute(sa.text(COLUMNS))}
        conn.commit()
        return cls(files, columns)


@dataclass(frozen=True)
class Step:
    """One migration: what was there before it and after it, and what it said to the server."""

    before: Catalogue
    after: Catalogue
    statements: Sequence[str]

    def rewritten(self) -> Set[str]:
        """Tables of which every row was written anew, while nobody could read them."""
        before, after = self.before.files, self.after.files
        return {table for table in before.keys() & after.keys() if before[table] != after[table]}

    def taken_away(self) -> Set[tuple[str, str]]:
        """Columns that the version before still reads, and that are gone or of another type."""
        before, after = self.before.columns, self.after.columns
        return {name for name in before if after.get(name, ("",))[0] != before[name][0]}

    def demanded(self) -> Set[tuple[str, str]]:
        """Columns without which the version before still inserts, and may no longer."""
        after = {name for name, (_, is_demanded) in self.after.columns.items() if is_demanded}
        before = {name for name, (_, is_demanded) in self.before.columns.items() if is_demanded}
        return {name for name in after - before if name[0] in self.before.files}

    def slow(self) -> Sequence[str]:
        """Statements that keep writers of a table out for longer than a moment."""
        return [each for each in self.statements if self._is_slow(each)]

    def _is_slow(self, statement: str) -> bool:
        found = (pattern.match(statement) for pattern in SLOW)
        return any(match and match[1] in self.before.files for match in found)


def play(config: Config, url: str) -> Iterator[tuple[str, Step]]:
    """Migrate an empty database step by step."""
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    engine = sa.create_engine(driver_url(url), poolclass=sa.NullPool)
    with engine.connect() as conn:
        before = Catalogue.read(conn)
        for script in reversed(scripts):
            said = _applied(config, script.revision)
            after = Catalogue.read(conn)
            yield script.revision, Step(before, after, said)
            before = after


def _applied(config: Config, revision: str) -> Sequence[str]:
    said: list[str] = []

    def note(*call: object) -> None:
        said.append(str(call[2]))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    migrate.apply(config, revision)
    sa.event.remove(sa.Engine, "before_cursor_execute", note)
    return said


def steps_of(config: Config, port: int, name: str) -> Mapping[str, Step]:
    postgres.ensure_database(port, name)
    config.attributes["url"] = driver_url(postgres.url(port, name))
    return dict(play(config, postgres.url(port, name)))


CAREFUL = next_schema.configuration("postgresql://")
CARELESS = next_schema.configuration("postgresql://", next_schema.CARELESS)


def revisions(config: Config) -> Sequence[str]:
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]


@pytest.fixture(scope="module")
def steps(postgres_port: int) -> Mapping[str, Step]:
    """Each migration of today, and those that the next version might bring."""
    return steps_of(CAREFUL, postgres_port, "step_by_step")


@pytest.fixture(scope="module")
def careless(postgres_port: int) -> Step:
    """A migration that does everything that none may."""
    return steps_of(CARELESS, postgres_port, "careless")["careless"]


@pytest.mark.parametrize("revision", revisions(CAREFUL))
def test_no_migration_rewrites_a_table(steps: Mapping[str, Step], revision: str) -> None:
    assert steps[revision].rewritten() == set()


@pytest.mark.parametrize("revision", revisions(CAREFUL))
def test_no_migration_takes_from_older_code_what_it_uses(
    steps: Mapping[str, Step], revision: str
) -> None:
    assert steps[revision].taken_away() == set()


@pytest.mark.parametrize("revision", revisions(CAREFUL))
def test_no_migration_asks_of_older_code_what_it_does_not_know(
    steps: Mapping[str, Step], revision: str
) -> None:
    assert steps[revision].demanded() == set()


@pytest.mark.parametrize("revision", sorted({*revisions(CAREFUL)} - BEFORE_THE_RULES))
def test_no_migration_keeps_writers_out(steps: Mapping[str, Step], revision: str) -> None:
    assert steps[revision].slow() == []


def test_a_careless_migration_is_caught(careless: Step) -> None:
    assert careless.rewritten() == {"push_tokens"}
    assert careless.taken_away() == {("push_tokens", "app_version"), ("push_tokens", "suspicions")}
    assert careless.demanded() == {("push_batches", "careless")}
    assert [each.split()[0] for each in careless.slow()] == ["CREATE", "ALTER", "ALTER", "LOCK"]
