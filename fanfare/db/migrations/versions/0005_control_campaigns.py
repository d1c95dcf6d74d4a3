"""Control campaigns: local time, windows, rates, pauses that are heard, and confirmations."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"

API_ROLE = "fanfare_api"
AUDIENCE_ROLE = "fanfare_audience"

OPEN_BEFORE = "status IN ('scheduled', 'sending')"
OPEN = f"{OPEN_BEFORE} OR (status = 'cancelled' AND settled_at IS NULL)"


def upgrade() -> None:
    for column in _campaign_columns():
        op.add_column("push_campaigns", column)
    for column in _project_columns():
        op.add_column("projects", column)
    _check_closed_sets()
    op.add_column(
        "push_batches", sa.Column("bucket", sa.Integer(), server_default="0", nullable=False)
    )
    # In two steps: a column that comes with such a default writes every row anew.
    op.add_column("idempotency_keys", sa.Column("claim_id", sa.UUID(), nullable=True))
    op.alter_column("idempotency_keys", "claim_id", server_default=sa.text("gen_random_uuid()"))
    # Those that ended before are settled, or their workflow is about to do it.
    op.execute(
        "UPDATE push_campaigns SET settled_at = updated_at WHERE status IN ('sent', 'cancelled')"
    )
    _walk(OPEN)
    _create_push_buckets()
    _create_rate_paces()
    for table in ("push_buckets", "rate_paces"):
        _build_wall(table)
    # A forecast says which lane a device is in.
    op.execute(f"GRANT SELECT (environment) ON push_tokens TO {AUDIENCE_ROLE}")


def downgrade() -> None:
    op.execute(f"REVOKE ALL (environment) ON push_tokens FROM {AUDIENCE_ROLE}")
    op.drop_table("rate_paces")
    op.drop_table("push_buckets")
    _walk(OPEN_BEFORE)
    op.drop_column("idempotency_keys", "claim_id")
    op.drop_column("push_batches", "bucket")
    for column in _project_columns():
        op.drop_column("projects", column.name)
    for column in _campaign_columns():
        op.drop_column("push_campaigns", column.name)


def _check_closed_sets() -> None:
    op.create_check_constraint(
        op.f("ck_push_campaigns_delivery_mode"),
        "push_campaigns",
        "delivery_mode IN ('instant', 'local_time')",
    )
    op.create_check_constraint(
        op.f("ck_push_campaigns_past_policy"),
        "push_campaigns",
        "past_policy IN ('skip', 'send_now')",
    )


def _walk(condition: str) -> None:
    """What the reconciler walks."""
    op.drop_index("ix_push_campaigns_open", "push_campaigns")
    op.create_index(
        "ix_push_campaigns_open", "push_campaigns", ["id"], postgresql_where=sa.text(condition)
    )


def _build_wall(table: str) -> None:
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {API_ROLE}")
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY own_project ON {table} USING "
        "(project_id = nullif(current_setting('app.project', true), '')::uuid)"
    )


def _create_push_buckets() -> None:
    op.create_table(
        "push_buckets",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("campaign_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("timezones", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("fires_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("opens_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("closes_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("frozen_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id", "campaign_id"],
            ["push_campaigns.project_id", "push_campaigns.id"],
            name=op.f("fk_push_buckets_push_campaigns"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "project_id", "campaign_id", "number", name=op.f("pk_push_buckets")
        ),
    )


def _create_rate_paces() -> None:
    op.create_table(
        "rate_paces",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("subject_id", sa.UUID(), nullable=False),
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
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_rate_paces_projects"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "subject_id", name=op.f("pk_rate_paces")),
    )


def _campaign_columns() -> Sequence["sa.Column[object]"]:
    return (
        sa.Column("delivery_mode", sa.Text(), server_default="instant", nullable=False),
        sa.Column("local_date", sa.Date(), nullable=True),
        sa.Column("local_time", sa.Time(), nullable=True),
        sa.Column("timezone_fallback", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("past_policy", sa.Text(), server_default="skip", nullable=False),
        sa.Column("window_start", sa.Time(), nullable=True),
        sa.Column("window_end", sa.Time(), nullable=True),
        sa.Column("window_timezone", sa.Text(), nullable=True),
        sa.Column("max_lateness_seconds", sa.Integer(), server_default="3600", nullable=False),
        sa.Column("rate_limit", sa.Integer(), nullable=True),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("heard_revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("armed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("settled_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("claim_id", sa.UUID(), nullable=True),
        sa.Column("frozen_rules", JSONB(), nullable=True),
    )


def _project_columns() -> Sequence["sa.Column[object]"]:
    return (
        sa.Column("timezone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("rate_limit", sa.Integer(), nullable=True),
        sa.Column("confirm_above", sa.Integer(), nullable=True),
    )
