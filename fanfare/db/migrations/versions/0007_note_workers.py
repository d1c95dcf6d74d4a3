"""Note the workers: who lives, and what is in their way."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

API_ROLE = "fanfare_api"


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        _moment("started_at"),
        _moment("beat_at"),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.Column("trouble_since", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    # It holds nothing of a project, and who reads it may not say that a worker lives.
    op.execute(f"GRANT SELECT ON workers TO {API_ROLE}")


def downgrade() -> None:
    op.drop_table("workers")


def _moment(name: str) -> "sa.Column[object]":
    now = sa.text("now()")
    return sa.Column(name, sa.TIMESTAMP(timezone=True), server_default=now, nullable=False)
