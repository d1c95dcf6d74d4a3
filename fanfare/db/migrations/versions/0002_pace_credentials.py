"""Pace credentials: their limits, and the rate that all workers share."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

API_ROLE = "fanfare_api"


def upgrade() -> None:
    _add_limits()
    _create_credential_paces()
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON credential_paces TO {API_ROLE}")
    op.execute("ALTER TABLE credential_paces ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY own_project ON credential_paces USING "
        "(project_id = nullif(current_setting('app.project', true), '')::uuid)"
    )


def downgrade() -> None:
    op.drop_table("credential_paces")
    for column in ("max_in_flight", "ramp_seconds", "messages_per_minute"):
        op.drop_column("credentials", column)


def _add_limits() -> None:
    """Defaults that the real services bear, for the credentials that are there too."""
    defaults = {"messages_per_minute": "300000", "ramp_seconds": "60", "max_in_flight": "2000"}
    for name, default in defaults.items():
        nullable = name == "messages_per_minute"
        column = sa.Column(name, sa.Integer(), server_default=default, nullable=nullable)
        op.add_column("credentials", column)


def _create_credential_paces() -> None:
    op.create_table(
        "credential_paces",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("credential_id", sa.UUID(), nullable=False),
        sa.Column("next_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ramp_from", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("factor", sa.Double(), nullable=False),
        sa.Column("held_until", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "credential_id"],
            ["credentials.project_id", "credentials.id"],
            name=op.f("fk_credential_paces_credentials"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "credential_id", name=op.f("pk_credential_paces")),
    )
