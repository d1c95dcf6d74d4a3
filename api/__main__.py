"""The process of the HTTP API: `python -m api`."""

import asyncio
import sys
from contextlib import suppress
from datetime import timedelta

import uvicorn
import uvloop

from api.app import create_app
from api.gate import Gate
from api.resources import Resources
from fanfare import startup, temporal
from fanfare.db.engine import API_ROLE, Database
from fanfare.db.read_pool import ReadPool
from fanfare.errors import Misconfigured
from fanfare.logs import configure
from fanfare.readiness import database_check, schema_check, temporal_check
from fanfare.sealing import KeyRing
from fanfare.settings import ApiSettings, read

# What a caller waits for at most: the server ends a statement, we end what the server does not.
STATEMENT_TIMEOUT = timedelta(seconds=10)
PATIENCE = timedelta(seconds=12)


def main() -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first."""
    try:
        settings = read(ApiSettings)
        configure(settings.log_level)
        uvloop.run(serve(settings))
    except Misconfigured as error:
        sys.exit(f"The API cannot start: {error}")


async def serve(settings: ApiSettings) -> None:
    """Open what the routes stand on, serve, and close it. Raises Misconfigured.

    It listens at once. Until PostgreSQL and its tables are there it answers 503.
    """
    database_url = settings.database_url.get_secret_value()
    database = Database(
        database_url, role=API_ROLE, statement_timeout=STATEMENT_TIMEOUT, patience=PATIENCE
    )
    reads = ReadPool(
        database_url, role=API_ROLE, statement_timeout=STATEMENT_TIMEOUT, patience=PATIENCE
    )
    await reads.open()
    client = await temporal.connect(lazy=True)
    try:
        resources = Resources(
            database=database,
            reads=reads,
            key_ring=KeyRing(settings.kek.get_secret_value()),
            pepper=settings.key_pepper.get_secret_value().encode(),
            operator_key=_operator_key(settings),
            temporal=client,
            temporal_ui_url=settings.temporal_ui_url,
            readiness_checks={
                "postgres": database_check(database),
                "schema": schema_check(database, database_url),
                "temporal": temporal_check(client),
            },
            gate=Gate(is_open=False),
        )
        await _serve(uvicorn.Server(_server(settings, resources)), resources)
    finally:
        await reads.close()
        await database.close()


async def _serve(server: uvicorn.Server, resources: Resources) -> None:
    opening = asyncio.create_task(_open_when_ready(server, resources))
    await server.serve()
    await resources.chores.close()
    opening.cancel()
    with suppress(asyncio.CancelledError):
        await opening


async def _open_when_ready(server: uvicorn.Server, resources: Resources) -> None:
    """Let requests in once they can be answered, and say meanwhile what is waited for.

    Without Temporal most of them can.
    """
    checks, stopping = dict(resources.readiness_checks), asyncio.Event()
    temporal_alone = {"temporal": checks.pop("temporal")}

    async def let_in() -> None:
        if await startup.wait_for(checks, stopping):
            resources.gate.open()

    try:
        await asyncio.gather(let_in(), startup.wait_for(temporal_alone, stopping))
    except Misconfigured:
        server.should_exit = True
        raise


def _server(settings: ApiSettings, resources: Resources) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(resources),
        host=settings.host,
        port=settings.port,
        # Ours names the route; uvicorn's would write paths, and paths hold device tokens.
        access_log=False,
        log_config=None,
        log_level=settings.log_level.lower(),
        server_header=False,
        timeout_graceful_shutdown=30,
    )


def _operator_key(settings: ApiSettings) -> str | None:
    key = settings.operator_key
    return None if key is None else key.get_secret_value() or None


if __name__ == "__main__":
    main()
