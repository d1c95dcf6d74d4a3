"""Bring a database to the newest schema: `python -m fanfare.db.migrate`.

Safe to run from several machines at once, and while older code works.
"""

import sys
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from fanfare.db.engine import driver_url


class MigrationSettings(BaseSettings):
    """What a migration needs to know: the owner's connection to the database."""

    model_config = SettingsConfigDict(env_prefix="FANFARE_")

    database_url: SecretStr


def configuration(url: str) -> Config:
    """Alembic's configuration for the database at `url`, with this package's migrations."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = driver_url(url)
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Apply what is missing up to `revision`. Returns when the schema is there."""
    command.upgrade(configuration(url), revision)


def downgrade(url: str, revision: str = "base") -> None:
    """Undo migrations down to `revision`; everything stored in what they made is lost."""
    command.downgrade(configuration(url), revision)


def current_revision(url: str) -> str | None:
    """The newest migration that the database at `url` has, None where it has none."""
    engine = sa.create_engine(driver_url(url))
    with engine.connect() as conn:
        if not sa.inspect(conn).has_table("alembic_version"):
            return None
        revision: str | None = conn.scalar(sa.text("SELECT version_num FROM alembic_version"))
    engine.dispose()
    return revision


def main() -> None:
    """Migrate the database that FANFARE_DATABASE_URL names, and say where it stands."""
    url = MigrationSettings().database_url.get_secret_value()
    upgrade(url)
    sys.stdout.write(f"database is at {current_revision(url)}\n")


if __name__ == "__main__":
    main()
