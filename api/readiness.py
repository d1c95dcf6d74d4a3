"""What must answer before the process takes requests."""

import sqlalchemy as sa
from alembic.script import ScriptDirectory
from temporalio.client import Client

from api.resources import ReadinessCheck
from fanfare.db.engine import Database
from fanfare.db.migrate import configuration
from fanfare.temporal import CALL_TIMEOUT, answering


class SchemaOutdated(Exception):
    """The database lacks migrations that this code needs."""


def database_check(database: Database) -> ReadinessCheck:
    """PostgreSQL answers."""

    async def check() -> None:
        async with database.transaction() as conn:
            await conn.execute(sa.text("SELECT 1"))

    return check


def schema_check(database: Database, database_url: str) -> ReadinessCheck:
    """Every migration that this code knows has been applied.

    A revision that it does not know is a newer one: a rolling upgrade migrates first, and
    migrations are safe while older code works.
    """
    scripts = ScriptDirectory.from_config(configuration(database_url))
    head = scripts.get_current_head()
    older = {script.revision for script in scripts.walk_revisions()} - {head}

    async def check() -> None:
        async with database.transaction() as conn:
            found = await conn.scalar(sa.text("SELECT version_num FROM alembic_version"))
        if found is None or found in older:
            raise SchemaOutdated(f"the database is at {found}, the code at {head}")

    return check


def temporal_check(client: Client) -> ReadinessCheck:
    """Temporal answers."""

    async def check() -> None:
        async with answering():
            await client.service_client.check_health(timeout=CALL_TIMEOUT)

    return check
