"""Everything that no migration may do while others work."""

from alembic import op

revision = "careless"
down_revision = "next_3"


def upgrade() -> None:
    op.execute("ALTER TABLE push_batches ADD COLUMN careless text NOT NULL")
    op.execute("ALTER TABLE push_tokens ALTER COLUMN suspicions TYPE bigint")
    op.execute("ALTER TABLE push_tokens DROP COLUMN app_version")
    op.execute("CREATE INDEX ix_careless ON push_tokens (last_seen_at)")
    op.execute("ALTER TABLE push_tokens ADD CONSTRAINT careless CHECK (suspicions >= 0)")
    op.execute("ALTER TABLE push_tokens ALTER COLUMN last_seen_at SET NOT NULL")
    op.execute("LOCK TABLE push_tokens")
