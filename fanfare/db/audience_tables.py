"""Tables of projects, their keys and credentials, and their audience: users, devices, segments."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from fanfare.db.columns import count, flag, identifier, metadata, moment, text

projects = sa.Table(
    "projects",
    metadata,
    identifier("id"),
    text("name"),
    # For users, and for local times, that name no zone of their own.
    text("timezone", default="UTC"),
    # Messages per minute of all its campaigns together; null is no limit.
    sa.Column("rate_limit", sa.Integer, nullable=True),
    # Campaigns to more devices than this are sent only with a confirmation; null asks for none.
    sa.Column("confirm_above", sa.Integer, nullable=True),
    moment("created_at", now=True),
    moment("updated_at", now=True),
    sa.PrimaryKeyConstraint("id"),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    text("id"),
    identifier("project_id", nullable=True),
    text("name"),
    sa.Column("secret_hash", sa.LargeBinary, nullable=False),
    sa.Column("scopes", ARRAY(sa.Text), nullable=False),
    moment("expires_at", nullable=True),
    moment("revoked_at", nullable=True),
    moment("last_used_at", nullable=True),
    text("created_by", nullable=True),
    moment("created_at", now=True),
    sa.PrimaryKeyConstraint("id"),
    sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
    sa.Index(None, "project_id", "created_at"),
)

credentials = sa.Table(
    "credentials",
    metadata,
    identifier("project_id"),
    identifier("id"),
    text("provider"),
    text("environment"),
    sa.Column("public", JSONB, nullable=False),
    text("fingerprint"),
    # AES-256-GCM under a data key of this row's own, which is wrapped by the key-encryption key.
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
    text("wrapped_by"),
    text("status", default="unchecked"),
    text("status_reason", nullable=True),
    moment("checked_at", nullable=True),
    # For all workers together; null is no limit.
    sa.Column("messages_per_minute", sa.Integer, nullable=True, server_default="300000"),
    sa.Column("ramp_seconds", sa.Integer, nullable=False, server_default="60"),
    sa.Column("max_in_flight", sa.Integer, nullable=False, server_default="2000"),
    moment("created_at", now=True),
    moment("updated_at", now=True),
    sa.PrimaryKeyConstraint("project_id", "id"),
    sa.UniqueConstraint("project_id", "provider", "environment"),
    sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
    sa.CheckConstraint("provider IN ('apns', 'fcm')", name="provider"),
    sa.CheckConstraint("environment IN ('production', 'sandbox')", name="environment"),
)

# The rate of a credential as all workers share it (pacing.RateState). A credential that is replaced
# gets a new id, and its pace follows: the provider counts on.
credential_paces = sa.Table(
    "credential_paces",
    metadata,
    identifier("project_id"),
    identifier("credential_id"),
    moment("next_at"),
    moment("ramp_from"),
    sa.Column("factor", sa.Double, nullable=False),
    moment("held_until"),
    moment("updated_at", now=True),
    sa.PrimaryKeyConstraint("project_id", "credential_id"),
    sa.ForeignKeyConstraint(
        ["project_id", "credential_id"],
        ["credentials.project_id", "credentials.id"],
        ondelete="CASCADE",
        onupdate="CASCADE",
    ),
)

# The rate of a campaign, or of a project, as all workers share it (pacing.RateState).
rate_paces = sa.Table(
    "rate_paces",
    metadata,
    identifier("project_id"),
    # The campaign, or the project itself.
    identifier("subject_id"),
    moment("next_at"),
    moment("ramp_from"),
    sa.Column("factor", sa.Double, nullable=False),
    moment("held_until"),
    moment("updated_at", now=True),
    sa.PrimaryKeyConstraint("project_id", "subject_id"),
    sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
)

app_users = sa.Table(
    "app_users",
    metadata,
    identifier("project_id"),
    identifier("id"),
    text("external_id"),
    text("email", nullable=True),
    text("phone", nullable=True),
    text("display_name", nullable=True),
    sa.Column("properties", JSONB, nullable=False, server_default="{}"),
    text("timezone", nullable=True),
    text("locale", nullable=True),
    moment("first_seen_at", nullable=True),
    moment("last_seen_at", nullable=True),
    moment("created_at", now=True),
    moment("updated_at", now=True),
    sa.PrimaryKeyConstraint("project_id", "id"),
    sa.UniqueConstraint("project_id", "external_id"),
    sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
    sa.Index("ix_app_users_project_id_last_seen_at", "project_id", "last_seen_at"),
    sa.Index("ix_app_users_project_id_first_seen_at", "project_id", "first_seen_at"),
    sa.Index(
        "ix_app_users_properties",
        "properties",
        postgresql_using="gin",
        postgresql_ops={"properties": "jsonb_path_ops"},
    ),
)

user_entitlements = sa.Table(
    "user_entitlements",
    metadata,
    identifier("project_id"),
    identifier("app_user_id"),
    text("entitlement_id"),
    text("product_id", nullable=True),
    flag("is_active", default="true"),
    text("store", nullable=True),
    text("period_type", nullable=True),
    moment("purchase_date", nullable=True),
    moment("expiration_date", nullable=True),
    sa.PrimaryKeyConstraint("project_id", "app_user_id", "entitlement_id"),
    sa.ForeignKeyConstraint(
        ["project_id", "app_user_id"],
        ["app_users.project_id", "app_users.id"],
        ondelete="CASCADE",
    ),
)

push_tokens = sa.Table(
    "push_tokens",
    metadata,
    identifier("project_id"),
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
    identifier("app_user_id"),
    text("token"),
    text("platform"),
    text("provider"),
    text("environment"),
    text("app_version", nullable=True),
    text("device_model", nullable=True),
    flag("is_active", default="true"),
    text("deactivated_reason", nullable=True),
    count("suspicions"),
    moment("suspected_at", nullable=True),
    moment("registered_at", now=True),
    moment("last_seen_at", now=True),
    sa.PrimaryKeyConstraint("project_id", "id"),
    sa.ForeignKeyConstraint(
        ["project_id", "app_user_id"],
        ["app_users.project_id", "app_users.id"],
        ondelete="CASCADE",
    ),
    sa.CheckConstraint("platform IN ('ios', 'android')", name="platform"),
    sa.CheckConstraint("provider IN ('apns', 'fcm')", name="provider"),
    sa.CheckConstraint("environment IN ('production', 'sandbox')", name="environment"),
    # A device that changes hands gets a new row; the old one stays with its old user as `moved`,
    # so that the ledger keeps saying who was reached and nobody gets another's message.
    sa.Index(
        "uq_push_tokens_project_id_provider_token",
        "project_id",
        "provider",
        "token",
        unique=True,
        postgresql_where=sa.text("deactivated_reason IS DISTINCT FROM 'moved'"),
    ),
    sa.Index("ix_push_tokens_project_id_app_user_id", "project_id", "app_user_id"),
)

segments = sa.Table(
    "segments",
    metadata,
    identifier("project_id"),
    text("id"),
    text("name"),
    text("description", nullable=True),
    sa.Column("rules", JSONB, nullable=False),
    flag("is_system", default="false"),
    sa.Column("user_count", sa.BigInteger, nullable=True),
    moment("last_evaluated_at", nullable=True),
    moment("created_at", now=True),
    moment("updated_at", now=True),
    sa.PrimaryKeyConstraint("project_id", "id"),
    sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
    sa.Index("ix_segments_project_id_created_at", "project_id", "created_at", "id"),
)

# The snapshot of who is in a segment. Without foreign keys, whose triggers would cost more than the
# rows, a million at a time: who deletes a user or a segment deletes its rows here, and what a
# refresh under way adds after that, the next one takes out.
segment_memberships = sa.Table(
    "segment_memberships",
    metadata,
    identifier("project_id"),
    text("segment_id"),
    identifier("app_user_id"),
    moment("entered_at", now=True),
    # PostgreSQL's own: where the row stands in the table.
    sa.Column("ctid", sa.types.NullType, system=True),
    sa.PrimaryKeyConstraint("project_id", "segment_id", "app_user_id"),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    identifier("project_id"),
    text("key"),
    sa.Column("request_hash", sa.LargeBinary, nullable=False),
    # Of what the request makes; it stays when a crashed request's claim is taken over. Null in rows
    # that are older than the column.
    sa.Column(
        "claim_id",
        sa.UUID(as_uuid=True),
        nullable=True,
        server_default=sa.text("gen_random_uuid()"),
    ),
    moment("locked_until"),
    sa.Column("status", sa.SmallInteger, nullable=True),
    sa.Column("response", sa.LargeBinary, nullable=True),
    moment("created_at", now=True),
    sa.PrimaryKeyConstraint("project_id", "key"),
    sa.Index("ix_idempotency_keys_created_at", "created_at"),
)
