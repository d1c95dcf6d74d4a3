"""The process of the HTTP API: `python -m api`."""

from datetime import timedelta

import uvicorn
import uvloop

from api.app import create_app
from api.readiness import database_check, schema_check, temporal_check
from api.resources import Resources
from fanfare import temporal
from fanfare.db.engine import API_ROLE, Database
from fanfare.db.read_pool import ReadPool
from fanfare.logs import configure
from fanfare.sealing import KeyRing
from fanfare.settings import ApiSettings

MIN_PEPPER = 32

# What a caller waits for at most: the server ends a statement, we end what the server does not.
STATEMENT_TIMEOUT = timedelta(seconds=10)
PATIENCE = timedelta(seconds=12)


class WeakPepper(Exception):
    """The pepper is too short to be a secret."""


def main() -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first."""
    settings = ApiSettings()
    configure(settings.log_level)
    uvloop.run(serve(settings))


async def serve(settings: ApiSettings) -> None:
    """Open what the routes stand on, serve, and close it."""
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
            pepper=_pepper(settings),
            operator_key=_operator_key(settings),
            temporal=client,
            temporal_ui_url=settings.temporal_ui_url,
            readiness_checks={
                "postgres": database_check(database),
                "schema": schema_check(database, database_url),
                "temporal": temporal_check(client),
            },
        )
        await uvicorn.Server(_server(settings, resources)).serve()
    finally:
        await reads.close()
        await database.close()


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


def _pepper(settings: ApiSettings) -> bytes:
    pepper = settings.key_pepper.get_secret_value()
    if len(pepper) < MIN_PEPPER:
        raise WeakPepper(f"FANFARE_KEY_PEPPER must have at least {MIN_PEPPER} characters")
    return pepper.encode()


def _operator_key(settings: ApiSettings) -> str | None:
    key = settings.operator_key
    return None if key is None else key.get_secret_value() or None


if __name__ == "__main__":
    main()
