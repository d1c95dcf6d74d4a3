"""Add a column to each table that a claim or an outcome touches."""

import sqlalchemy as sa
from alembic import op
from alembic.script import ScriptDirectory

from fanfare.db import migrate

revision = "next_1"
# Whatever is today's newest.
down_revision = ScriptDirectory.from_config(
    migrate.configuration("postgresql://")
).get_current_head()

TABLES = ("push_campaigns", "push_batches", "push_deliveries", "push_tokens")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("next_note", sa.Text(), nullable=True))
        op.add_column(
            table, sa.Column("next_count", sa.Integer(), server_default="0", nullable=False)
        )


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "next_count")
        op.drop_column(table, "next_note")
