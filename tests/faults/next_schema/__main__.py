"""Migrate the database that FANFARE_DATABASE_URL names to the next version's schema."""

import sys

from fanfare.db import migrate
from tests.faults.next_schema import configuration

if __name__ == "__main__":
    url = migrate.MigrationSettings().database_url.get_secret_value()
    sys.exit(migrate.run(configuration(url)))
