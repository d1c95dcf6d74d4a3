"""The first schema: projects and keys, the audience, campaigns and their ledger."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None

API_ROLE = "fanfare_api"

# Tables of which the HTTP door sees the rows of one project only.
WALLED = (
    "app_users",
    "credentials",
    "idempotency_keys",
    "push_batches",
    "push_campaigns",
    "push_deliveries",
    "push_owed",
    "push_tests",
    "push_tokens",
    "segments",
    "user_entitlements",
)


def upgrade() -> None:
    _create_idempotency_keys()
    _create_projects()
    _create_push_deliveries()
    _create_api_keys()
    _create_app_users()
    _create_credentials()
    _create_push_campaigns()
    _create_push_tests()
    _create_segments()
    _create_push_batches()
    _create_push_tokens()
    _create_user_entitlements()
    _create_push_owed()
    op.execute("CREATE TABLE push_deliveries_rest PARTITION OF push_deliveries DEFAULT")
    _open_the_api_door()


def downgrade() -> None:
    for table in (*reversed(WALLED), "api_keys", "projects"):
        op.execute(f"DROP TABLE {table} CASCADE")


def _open_the_api_door() -> None:
    """A role without tables of its own, held to one project by row-level security.

    Roles belong to the whole server, so another database may have made it already.
    """
    op.execute(
        f"""
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{API_ROLE}') THEN
                CREATE ROLE {API_ROLE} NOLOGIN;
            END IF;
            EXECUTE format('GRANT {API_ROLE} TO %I', current_user);
            EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO {API_ROLE}', current_database());
        END $$
        """
    )
    # By name: partitions have no wall of their own, and are reached through their parent only.
    op.execute(f"GRANT SELECT ON alembic_version TO {API_ROLE}")
    for table in ("projects", "api_keys", *WALLED):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {API_ROLE}")
    for table in WALLED:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY own_project ON {table} USING "
            "(project_id = nullif(current_setting('app.project', true), '')::uuid)"
        )


def _create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("locked_until", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("response", sa.LargeBinary(), nullable=True),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(
        "ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False
    )


def _create_projects() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
    )


def _create_push_deliveries() -> None:
    op.create_table(
        "push_deliveries",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("campaign_id", sa.UUID(), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("possible_duplicate", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("provider_message_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('sent', 'failed', 'skipped', 'unknown')",
            name=op.f("ck_push_deliveries_status"),
        ),
        sa.PrimaryKeyConstraint(
            "project_id", "campaign_id", "token_id", name=op.f("pk_push_deliveries")
        ),
        postgresql_partition_by="RANGE (campaign_id)",
    )
    op.create_index(
        "ix_push_deliveries_not_sent",
        "push_deliveries",
        ["project_id", "campaign_id", "status", "token_id"],
        unique=False,
        postgresql_where=sa.text("status <> 'sent'"),
    )


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.UUID(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", ARRAY(sa.Text()), nullable=False),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_api_keys_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_index(
        op.f("ix_api_keys_project_id_created_at"),
        "api_keys",
        ["project_id", "created_at"],
        unique=False,
    )


def _create_app_users() -> None:
    op.create_table(
        "app_users",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column(
            "properties",
            JSONB(),
            server_default="{}",
            nullable=False,
        ),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("first_seen_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_seen_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_app_users_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "id", name=op.f("pk_app_users")),
        sa.UniqueConstraint(
            "project_id", "external_id", name=op.f("uq_app_users_project_id_external_id")
        ),
    )
    op.create_index(
        "ix_app_users_project_id_last_seen_at",
        "app_users",
        ["project_id", "last_seen_at"],
        unique=False,
    )
    op.create_index(
        "ix_app_users_properties",
        "app_users",
        ["properties"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"properties": "jsonb_path_ops"},
    )


def _create_credentials() -> None:
    op.create_table(
        "credentials",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("public", JSONB(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped_by", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="unchecked", nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("checked_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "environment IN ('production', 'sandbox')", name=op.f("ck_credentials_environment")
        ),
        sa.CheckConstraint("provider IN ('apns', 'fcm')", name=op.f("ck_credentials_provider")),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_credentials_projects"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "id", name=op.f("pk_credentials")),
        sa.UniqueConstraint(
            "project_id",
            "provider",
            "environment",
            name=op.f("uq_credentials_project_id_provider_environment"),
        ),
    )


def _create_push_campaigns() -> None:
    op.create_table(
        "push_campaigns",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("data", JSONB(), server_default="{}", nullable=False),
        sa.Column("segment_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("scheduled_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("on_unknown", sa.Text(), server_default="resend", nullable=False),
        sa.Column("paused_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("begun_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("frozen_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("sent_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("cancelled_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("audience", sa.BigInteger(), nullable=True),
        sa.Column("failure_code", sa.Text(), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "on_unknown IN ('resend', 'skip')", name=op.f("ck_push_campaigns_on_unknown")
        ),
        sa.CheckConstraint(
            "status IN ('draft', 'scheduled', 'sending', 'sent', 'cancelled', 'failed')",
            name=op.f("ck_push_campaigns_status"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_push_campaigns_projects"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "id", name=op.f("pk_push_campaigns")),
    )
    op.create_index(
        "ix_push_campaigns_open",
        "push_campaigns",
        ["id"],
        unique=False,
        postgresql_where=sa.text("status IN ('scheduled', 'sending')"),
    )
    op.create_index(
        "ix_push_campaigns_project_id_segment_id",
        "push_campaigns",
        ["project_id", "segment_id"],
        unique=False,
    )
    op.create_index(
        "ix_push_campaigns_project_id_status_id",
        "push_campaigns",
        ["project_id", "status", "id"],
        unique=False,
    )


def _create_push_tests() -> None:
    op.create_table(
        "push_tests",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("data", JSONB(), server_default="{}", nullable=False),
        sa.Column("targets", JSONB(), nullable=False),
        sa.Column("results", JSONB(), nullable=True),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_push_tests_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "id", name=op.f("pk_push_tests")),
    )
    op.create_index("ix_push_tests_created_at", "push_tests", ["created_at"], unique=False)


def _create_segments() -> None:
    op.create_table(
        "segments",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("rules", JSONB(), nullable=False),
        sa.Column("is_system", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("user_count", sa.BigInteger(), nullable=True),
        sa.Column("last_evaluated_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_segments_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "id", name=op.f("pk_segments")),
    )
    op.create_index(
        "ix_segments_project_id_created_at",
        "segments",
        ["project_id", "created_at", "id"],
        unique=False,
    )


def _create_push_batches() -> None:
    op.create_table(
        "push_batches",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("campaign_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("token_ids", ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("claimed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sent", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("skipped", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unknown", sa.Integer(), server_default="0", nullable=False),
        sa.Column("possible_duplicates", sa.Integer(), server_default="0", nullable=False),
        sa.Column("suspects", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "skipped_by",
            JSONB(),
            server_default="{}",
            nullable=False,
        ),
        sa.Column("completed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id", "campaign_id"],
            ["push_campaigns.project_id", "push_campaigns.id"],
            name=op.f("fk_push_batches_push_campaigns"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "project_id", "campaign_id", "number", name=op.f("pk_push_batches")
        ),
    )


def _create_push_tokens() -> None:
    op.create_table(
        "push_tokens",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("app_user_id", sa.UUID(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("app_version", sa.Text(), nullable=True),
        sa.Column("device_model", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("deactivated_reason", sa.Text(), nullable=True),
        sa.Column("suspicions", sa.Integer(), server_default="0", nullable=False),
        sa.Column("suspected_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "registered_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "last_seen_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "environment IN ('production', 'sandbox')", name=op.f("ck_push_tokens_environment")
        ),
        sa.CheckConstraint("platform IN ('ios', 'android')", name=op.f("ck_push_tokens_platform")),
        sa.CheckConstraint("provider IN ('apns', 'fcm')", name=op.f("ck_push_tokens_provider")),
        sa.ForeignKeyConstraint(
            ["project_id", "app_user_id"],
            ["app_users.project_id", "app_users.id"],
            name=op.f("fk_push_tokens_app_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "id", name=op.f("pk_push_tokens")),
    )
    op.create_index(
        "ix_push_tokens_project_id_app_user_id",
        "push_tokens",
        ["project_id", "app_user_id"],
        unique=False,
    )
    op.create_index(
        "uq_push_tokens_project_id_provider_token",
        "push_tokens",
        ["project_id", "provider", "token"],
        unique=True,
        postgresql_where=sa.text("deactivated_reason IS DISTINCT FROM 'moved'"),
    )


def _create_user_entitlements() -> None:
    op.create_table(
        "user_entitlements",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("app_user_id", sa.UUID(), nullable=False),
        sa.Column("entitlement_id", sa.Text(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("store", sa.Text(), nullable=True),
        sa.Column("period_type", sa.Text(), nullable=True),
        sa.Column("purchase_date", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("expiration_date", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id", "app_user_id"],
            ["app_users.project_id", "app_users.id"],
            name=op.f("fk_user_entitlements_app_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "project_id", "app_user_id", "entitlement_id", name=op.f("pk_user_entitlements")
        ),
    )


def _create_push_owed() -> None:
    op.create_table(
        "push_owed",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("campaign_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ambiguous", sa.Boolean(), server_default="false", nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "campaign_id", "number"],
            ["push_batches.project_id", "push_batches.campaign_id", "push_batches.number"],
            name=op.f("fk_push_owed_push_batches"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "project_id", "campaign_id", "number", "token_id", name=op.f("pk_push_owed")
        ),
    )
