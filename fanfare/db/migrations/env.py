"""How Alembic reaches the database: a transaction for each migration, one upgrade at a time across
machines. In one for all, a lock that is taken for a moment would last as long as the slowest."""

import sqlalchemy as sa
from alembic import context

from fanfare.db.tables import metadata

LOCK = 0x66616E66617265  # "fanfare": any number that nobody else takes

engine = sa.create_engine(context.config.attributes["url"])
with engine.connect() as connection:
    # Until the connection ends, across transactions.
    connection.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
    connection.commit()
    context.configure(
        connection=connection, target_metadata=metadata, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
