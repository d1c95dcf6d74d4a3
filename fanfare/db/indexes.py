"""Indexes that are built while senders read and write. For migrations."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError, PendingRollbackError

_IS_HALF_BUILT = sa.text(
    "SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"
)


def build(name: str, table: str, columns: Sequence[str], *, where: str | None = None) -> None:
    """Build an index by CREATE INDEX CONCURRENTLY. May run again: it finishes what was killed.

    It ends the migration's transaction, so it must be all that its migration does. It waits as
    long as it takes for transactions that are older: nobody waits behind it. Costs two passes over
    the table. Not for `push_deliveries`: PostgreSQL cannot do it for a partitioned table.
    """
    condition = None if where is None else sa.text(where)
    with _outside_of_transactions():
        if op.get_bind().scalar(_IS_HALF_BUILT, {"name": name}):
            op.drop_index(name, table, postgresql_concurrently=True)
        op.create_index(
            name,
            table,
            list(columns),
            postgresql_concurrently=True,
            postgresql_where=condition,
            if_not_exists=True,
        )


def remove(name: str, table: str) -> None:
    """Remove an index while others use the table. All that its migration does."""
    with _outside_of_transactions():
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)


@contextmanager
def _outside_of_transactions() -> Iterator[None]:
    """Each statement by itself, and waiting for locks behind which no sender waits."""
    try:
        with op.get_context().autocommit_block():
            op.execute("SET lock_timeout = 0")
            yield
            op.execute("RESET lock_timeout")
    except PendingRollbackError as error:
        # Alembic tidies up a connection that is gone, and so hides why it is.
        if isinstance(error.__context__, DBAPIError):
            raise error.__context__ from None
        raise
