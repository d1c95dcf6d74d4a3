"""Keep who is in which segment, let rules be previewed, and give projects the system segments."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

API_ROLE = "fanfare_api"

AUDIENCE_ROLE = "fanfare_audience"
# What rules compare, and what a preview shows; a device token is neither.
READABLE = {
    "app_users": "*",
    "user_entitlements": "*",
    "push_tokens": "project_id, app_user_id, is_active, platform, provider, app_version, "
    "last_seen_at",
}

EVERYONE: dict[str, object] = {"operator": "AND", "conditions": []}


def _leaf(field: str, op: str, value: object) -> dict[str, object]:
    return {"field": field, "op": op, "value": value}


# As they were when this was written; `fanfare/segments/system.py` holds today's.
SYSTEM_SEGMENTS: tuple[tuple[str, str, str, dict[str, object]], ...] = (
    ("seg_all", "All users", "Every user of the project.", EVERYONE),
    (
        "seg_active_7d",
        "Active in 7 days",
        "Seen in the last 7 days.",
        _leaf("last_seen_at", "within", "7d"),
    ),
    (
        "seg_active_30d",
        "Active in 30 days",
        "Seen in the last 30 days.",
        _leaf("last_seen_at", "within", "30d"),
    ),
    (
        "seg_churning",
        "Churning",
        "Not seen in the last 14 days, or never.",
        _leaf("last_seen_at", "not_within", "14d"),
    ),
    (
        "seg_premium",
        "Premium",
        "With an active entitlement.",
        _leaf("entitlements.is_active", "eq", True),
    ),
    (
        "seg_free",
        "Free",
        "Without an active entitlement.",
        _leaf("entitlements.is_active", "neq", True),
    ),
    (
        "seg_new_users",
        "New users",
        "First seen in the last 7 days.",
        _leaf("first_seen_at", "within", "7d"),
    ),
)


def upgrade() -> None:
    _create_segment_memberships()
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON segment_memberships TO {API_ROLE}")
    op.execute("ALTER TABLE segment_memberships ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY own_project ON segment_memberships USING "
        "(project_id = nullif(current_setting('app.project', true), '')::uuid)"
    )
    _let_rules_be_previewed()
    _add_system_segments()


def downgrade() -> None:
    op.execute("DELETE FROM segments WHERE is_system")
    for table in READABLE:
        op.execute(f"DROP POLICY any_project ON {table}")
        op.execute(f"REVOKE ALL ON {table} FROM {AUDIENCE_ROLE}")
    op.drop_table("segment_memberships")


def _create_segment_memberships() -> None:
    op.create_table(
        "segment_memberships",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("segment_id", sa.Text(), nullable=False),
        sa.Column("app_user_id", sa.UUID(), nullable=False),
        sa.Column(
            "entered_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint(
            "project_id", "segment_id", "app_user_id", name=op.f("pk_segment_memberships")
        ),
    )


def _let_rules_be_previewed() -> None:
    """A role that reads the audience of every project, for statements that name theirs.

    Roles belong to the whole server, so another database may have made it already.
    """
    op.execute(
        f"""
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{AUDIENCE_ROLE}') THEN
                CREATE ROLE {AUDIENCE_ROLE} NOLOGIN;
            END IF;
            EXECUTE format('GRANT {AUDIENCE_ROLE} TO %I', current_user);
        END $$
        """
    )
    for table, columns in READABLE.items():
        of = "" if columns == "*" else f" ({columns})"
        op.execute(f"GRANT SELECT{of} ON {table} TO {AUDIENCE_ROLE}")
        op.execute(
            f"CREATE POLICY any_project ON {table} FOR SELECT TO {AUDIENCE_ROLE} USING (true)"
        )


def _add_system_segments() -> None:
    """For the projects that are there. One that took such an id for its own keeps its own."""
    statement = sa.text(
        "INSERT INTO segments (project_id, id, name, description, rules, is_system) "
        "SELECT id, :id, :name, :description, CAST(:rules AS jsonb), true FROM projects "
        "ON CONFLICT (project_id, id) DO NOTHING"
    )
    for segment_id, name, description, rules in SYSTEM_SEGMENTS:
        values = {"id": segment_id, "name": name, "description": description}
        op.execute(statement.bindparams(**values, rules=json.dumps(rules)))
