"""Keep notes."""

import sqlalchemy as sa
from alembic import op

revision = "next_3"
down_revision = "next_2"


def upgrade() -> None:
    op.create_table(
        "next_notes",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "id", name=op.f("pk_next_notes")),
    )


def downgrade() -> None:
    op.drop_table("next_notes")
