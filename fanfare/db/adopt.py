"""Say that the database lost nothing on its way here: `python -m fanfare.db.adopt`.

For a switch-over in order, or PostgreSQL's own upgrade, with the workers stopped: without it they
take the database for a restored one, and every campaign that was sending rests until it is resumed.
"""

import asyncio
import sys

import psycopg
from pydantic import ValidationError

from fanfare.db import installation
from fanfare.db.engine import driver_url
from fanfare.db.migrate import MigrationSettings
from fanfare.errors import DatabaseUnavailable


async def run(url: str) -> None:
    """Take the database at `url` for the true one. Raises psycopg.Error or DatabaseUnavailable."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        await installation.adopt(conn)


def main() -> None:
    """Adopt the database that FANFARE_DATABASE_URL names."""
    try:
        url = MigrationSettings().database_url.get_secret_value()
        # psycopg quotes what it cannot read, the password too.
        driver_url(url)
        asyncio.run(run(url))
    except ValidationError:
        sys.exit("FANFARE_DATABASE_URL is not set.")
    except (ValueError, DatabaseUnavailable, psycopg.Error) as error:
        sys.exit(str(error))
    sys.stdout.write("the database is taken as it is: nothing rests\n")


if __name__ == "__main__":
    main()
