"""What the next version's migrations might be: columns for the send path's tables, an index of the
devices, a table. Each is safe while the code of today works.

    python -m tests.faults.next_schema      # migrates, as `python -m fanfare.db.migrate` will then
"""

import os
from pathlib import Path

from alembic.config import Config

from fanfare.db import migrate

VERSIONS = Path(__file__).parent / "versions"
CARELESS = Path(__file__).parent / "careless"
HEAD = "next_3"
INDEX = "ix_push_tokens_next_note"


def configuration(url: str, *more: Path) -> Config:
    """Of today's migrations and the next version's, and others' after those."""
    config = migrate.configuration(url)
    own = Path(config.get_main_option("script_location") or "") / "versions"
    config.set_main_option("path_separator", "os")
    locations = (own, VERSIONS, *more)
    config.set_main_option("version_locations", os.pathsep.join(map(str, locations)))
    return config
