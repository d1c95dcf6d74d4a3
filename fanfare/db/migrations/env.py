"""How Alembic reaches the database: one transaction, one at a time across machines."""

import sqlalchemy as sa
from alembic import context

from fanfare.db.tables import metadata

LOCK = 0x66616E66617265  # "fanfare": any number that nobody else takes

engine = sa.create_engine(context.config.attributes["url"])
with engine.begin() as connection:
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    context.configure(connection=connection, target_metadata=metadata)
    context.run_migrations()
engine.dispose()
