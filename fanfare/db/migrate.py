"""Bring a database to the newest schema: `python -m fanfare.db.migrate`.

Safe to run from several machines at once, and while workers of the version before send.
"""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.exc import DBAPIError, OperationalError

from fanfare.db.engine import driver_url
from fanfare.db.migration_locks import CONNECT_SECONDS, Tell

# How long tables may be held by others before a migration is given up.
PATIENCE = timedelta(minutes=5)

# Between two tries. The first is longer than a try holds up senders: they catch up.
PAUSES = (1.0, 2.0, 4.0, 8.0)
LONGEST_PAUSE = 15.0

_HELD = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


class TablesHeld(Exception):
    """Others held a table for longer than a migration waits. What was applied before stays."""


class MigrationSettings(BaseSettings):
    """What a migration needs to know: the owner's connection to the database."""

    model_config = SettingsConfigDict(env_prefix="FANFARE_")

    database_url: SecretStr


def main() -> None:
    """Migrate the database that FANFARE_DATABASE_URL names, and say where it stands."""
    try:
        config = configuration(MigrationSettings().database_url.get_secret_value())
    except ValidationError:
        sys.exit("FANFARE_DATABASE_URL is not set.")
    except ValueError as error:
        sys.exit(str(error))
    sys.exit(run(config))


def run(config: Config) -> int:
    """Apply what is missing, tell of it on standard output, and return the exit code."""
    try:
        apply(config, tell=_print)
    except TablesHeld as error:
        _print(str(error))
        return 1
    except DBAPIError as error:
        _print(_what_failed(error))
        return 1
    _print(f"database is at {_revision(config)}")
    return 0


def configuration(url: str) -> Config:
    """Alembic's configuration for the database at `url`, with this package's migrations."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = driver_url(url)
    config.attributes["tell"] = _say_nothing
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Apply what is missing up to `revision`. Returns when the schema is there."""
    apply(configuration(url), revision)


def apply(
    config: Config,
    revision: str = "head",
    *,
    tell: Tell | None = None,
    patience: timedelta = PATIENCE,
) -> None:
    """Apply what is missing; nothing where the database is newer than the code. May run again.

    Each try holds up others for `migration_locks.LOCK_TIMEOUT` at most per table that it changes.
    Raises TablesHeld where none succeeded for so long, and DBAPIError for everything else.
    """
    config.attributes["tell"] = tell or _say_nothing
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    found = _revision(config)
    if found is not None and found not in known:
        config.attributes["tell"](f"the database is newer than this code: {found} is unknown here")
        return
    _until_given(partial(command.upgrade, config, revision), config.attributes["tell"], patience)


def downgrade(url: str, revision: str = "base") -> None:
    """Undo migrations down to `revision`; everything stored in what they made is lost."""
    undo(configuration(url), revision)


def undo(config: Config, revision: str) -> None:
    """As `downgrade`, of the migrations that `config` names."""
    step = partial(command.downgrade, config, revision)
    _until_given(step, config.attributes["tell"], PATIENCE)


def current_revision(url: str) -> str | None:
    """The newest migration that the database at `url` has, None where it has none."""
    return _revision(configuration(url))


def _until_given(migration: Callable[[], None], tell: Tell, patience: timedelta) -> None:
    """Try again as long as others hold a table, so that senders wait briefly and never long."""
    limit = time.monotonic() + patience.total_seconds()
    pauses = chain(PAUSES, repeat(LONGEST_PAUSE))
    while (error := _held(migration)) is not None:
        pause = next(pauses)
        if time.monotonic() + pause > limit:
            raise TablesHeld(
                f"Others held a table for {patience}. Nothing is half done: end what was waited "
                "for, and run this again."
            ) from error
        tell(f"stepped aside, so that nobody waits behind this; trying again in {pause:.0f} s")
        time.sleep(pause)


def _held(migration: Callable[[], None]) -> OperationalError | None:
    """Try once. What it says where others hold a table."""
    try:
        migration()
    except OperationalError as error:
        if not isinstance(error.orig, _HELD):
            raise
        return error
    return None


def _revision(config: Config) -> str | None:
    engine = sa.create_engine(
        config.attributes["url"],
        poolclass=sa.NullPool,
        connect_args={"connect_timeout": CONNECT_SECONDS},
    )
    with engine.connect() as conn:
        if not sa.inspect(conn).has_table("alembic_version"):
            return None
        revision: str | None = conn.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision


def _what_failed(error: DBAPIError) -> str:
    """The server's or the driver's own words, without the statement."""
    if isinstance(error, OperationalError):
        return f"PostgreSQL does not answer, or went away. Run this again. {error.orig}"
    return f"The migration failed, and nothing of it is left: {error.orig}"


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _say_nothing(_: str) -> None:
    return None


if __name__ == "__main__":
    main()
