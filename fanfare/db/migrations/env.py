"""How Alembic reaches the database: a transaction for each migration, one upgrade at a time across
machines. In one for all, a lock that is taken for a moment would last as long as the slowest."""

from collections.abc import Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo

from fanfare.db import migration_locks
from fanfare.db.tables import metadata

tell = context.config.attributes["tell"]


def tell_of_step(
    ctx: MigrationContext,  # noqa: ARG001 - Alembic gives all four by their names
    step: MigrationInfo,
    heads: Collection[Any],  # noqa: ARG001
    run_args: Mapping[str, Any],  # noqa: ARG001
) -> None:
    tell(f"{'applied' if step.is_upgrade else 'undone'}: {step.up_revision_id}")


with migration_locks.taken(context.config.attributes["url"], tell) as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        on_version_apply=tell_of_step,
    )
    with context.begin_transaction():
        context.run_migrations()
