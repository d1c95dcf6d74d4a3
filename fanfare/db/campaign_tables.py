"""Tables of campaigns: the row, the frozen audience in batches, what is owed, the ledger, and who
works on them."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from fanfare.db.columns import count, flag, identifier, metadata, moment, text

push_campaigns = sa.Table(
    "push_campaigns",
    metadata,
    identifier("project_id"),
    identifier("id"),
    text("name"),
    text("title"),
    text("body"),
    sa.Column("data", JSONB, nullable=False, server_default="{}"),
    text("segment_id", nullable=True),
    text("status"),
    moment("scheduled_at", nullable=True),
    moment("expires_at", nullable=True),
    text("on_unknown", default="resend"),
    text("delivery_mode", default="instant"),
    sa.Column("local_date", sa.Date, nullable=True),
    sa.Column("local_time", sa.Time, nullable=True),
    text("timezone_fallback", default="UTC"),
    text("past_policy", default="skip"),
    # All three or none; `window_timezone` is an IANA name, or `user` for each user's own.
    sa.Column("window_start", sa.Time, nullable=True),
    sa.Column("window_end", sa.Time, nullable=True),
    text("window_timezone", nullable=True),
    sa.Column("max_lateness_seconds", sa.Integer, nullable=False, server_default="3600"),
    # Messages per minute, for all workers together; null is no limit.
    sa.Column("rate_limit", sa.Integer, nullable=True),
    moment("paused_at", nullable=True),
    # How often an operator changed something that the campaign's workflow must know, and how much
    # of that it has heard. Where the two differ for long, the upkeep tells it.
    count("revision"),
    count("heard_revision"),
    # Since when it is meant to go out: scheduled, or sent by hand. What was past then is past.
    moment("armed_at", nullable=True),
    # Set by the first activity of the campaign's workflow: somebody works on this row.
    moment("begun_at", nullable=True),
    moment("frozen_at", nullable=True),
    moment("sent_at", nullable=True),
    moment("cancelled_at", nullable=True),
    # When every device of the frozen audience had its end, after which nothing changes any more.
    moment("settled_at", nullable=True),
    # Since when what was sent of it may be unknown here: the database was restored.
    moment("in_doubt_since", nullable=True),
    # The request that set it going; the same one, repeated after a crash, finds its own work.
    identifier("claim_id", nullable=True),
    # The segment's rules as they were when the audience was frozen.
    sa.Column("frozen_rules", JSONB, nullable=True),
    sa.Column("audience", sa.BigInteger, nullable=True),
    text("failure_code", nullable=True),
    text("failure_message", nullable=True),
    moment("created_at", now=True),
    moment("updated_at", now=True),
    sa.PrimaryKeyConstraint("project_id", "id"),
    sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
    sa.CheckConstraint(
        "status IN ('draft', 'scheduled', 'sending', 'sent', 'cancelled', 'failed')", name="status"
    ),
    sa.CheckConstraint("on_unknown IN ('resend', 'skip')", name="on_unknown"),
    sa.CheckConstraint("delivery_mode IN ('instant', 'local_time')", name="delivery_mode"),
    sa.CheckConstraint("past_policy IN ('skip', 'send_now')", name="past_policy"),
    # Lists walk the primary key: a UUIDv7 grows with the time of creation.
    sa.Index("ix_push_campaigns_project_id_status_id", "project_id", "status", "id"),
    sa.Index("ix_push_campaigns_project_id_segment_id", "project_id", "segment_id"),
    # What the reconciler walks: few rows of many.
    sa.Index(
        "ix_push_campaigns_open",
        "id",
        postgresql_where=sa.text(
            "status IN ('scheduled', 'sending') OR (status = 'cancelled' AND settled_at IS NULL)"
        ),
    ),
)

# When whose time has come, for campaigns that have a window or go by each user's own clock. Others
# have no row here; their batches are in bucket 0.
push_buckets = sa.Table(
    "push_buckets",
    metadata,
    identifier("project_id"),
    identifier("campaign_id"),
    sa.Column("number", sa.Integer, nullable=False),
    # Whose users: IANA names; null is everybody.
    sa.Column("timezones", ARRAY(sa.Text), nullable=True),
    moment("fires_at"),
    # When messages may go out, now or next: from the one moment up to the other.
    moment("opens_at"),
    moment("closes_at", nullable=True),
    moment("frozen_at", nullable=True),
    sa.PrimaryKeyConstraint("project_id", "campaign_id", "number"),
    sa.ForeignKeyConstraint(
        ["project_id", "campaign_id"],
        ["push_campaigns.project_id", "push_campaigns.id"],
        ondelete="CASCADE",
    ),
)

push_batches = sa.Table(
    "push_batches",
    metadata,
    identifier("project_id"),
    identifier("campaign_id"),
    sa.Column("number", sa.Integer, nullable=False),
    count("bucket"),
    text("lane"),
    sa.Column("token_ids", ARRAY(sa.BigInteger), nullable=False),
    # The intent log: how many of token_ids, from the front, may have been put on the wire.
    count("claimed"),
    # Which activity attempt may claim. A superseded one finds another number here and stops.
    count("epoch"),
    count("sent"),
    count("failed"),
    count("skipped"),
    count("unknown"),
    count("possible_duplicates"),
    # Messages refused as if the device were not of this app: a wrong credential looks so too.
    count("suspects"),
    sa.Column("skipped_by", JSONB, nullable=False, server_default="{}"),
    moment("completed_at", nullable=True),
    sa.PrimaryKeyConstraint("project_id", "campaign_id", "number"),
    sa.ForeignKeyConstraint(
        ["project_id", "campaign_id"],
        ["push_campaigns.project_id", "push_campaigns.id"],
        ondelete="CASCADE",
    ),
)

# What is claimed and neither final nor lost: a note for each message that is to be tried again.
push_owed = sa.Table(
    "push_owed",
    metadata,
    identifier("project_id"),
    identifier("campaign_id"),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("token_id", sa.BigInteger, nullable=False),
    moment("due_at"),
    count("attempts"),
    # An attempt may have been accepted without our knowing: a further one may be a repeat.
    flag("ambiguous", default="false"),
    sa.PrimaryKeyConstraint("project_id", "campaign_id", "number", "token_id"),
    sa.ForeignKeyConstraint(
        ["project_id", "campaign_id", "number"],
        ["push_batches.project_id", "push_batches.campaign_id", "push_batches.number"],
        ondelete="CASCADE",
    ),
)

push_deliveries = sa.Table(
    "push_deliveries",
    metadata,
    identifier("project_id"),
    identifier("campaign_id"),
    sa.Column("token_id", sa.BigInteger, nullable=False),
    moment("recorded_at", now=True),
    flag("possible_duplicate", default="false"),
    text("status"),
    text("error_code", nullable=True),
    text("reason", nullable=True),
    text("provider_message_id", nullable=True),
    sa.PrimaryKeyConstraint("project_id", "campaign_id", "token_id"),
    sa.CheckConstraint("status IN ('sent', 'failed', 'skipped', 'unknown')", name="status"),
    # Only what did not go well is ever looked for by status; a sent row pays nothing for it.
    sa.Index(
        "ix_push_deliveries_not_sent",
        "project_id",
        "campaign_id",
        "status",
        "token_id",
        postgresql_where=sa.text("status <> 'sent'"),
    ),
    postgresql_partition_by="RANGE (campaign_id)",
)

push_tests = sa.Table(
    "push_tests",
    metadata,
    identifier("project_id"),
    identifier("id"),
    text("title"),
    text("body"),
    sa.Column("data", JSONB, nullable=False, server_default="{}"),
    # What to reach: [{lane, token, token_id?}]. Here and not in the workflow's history.
    sa.Column("targets", JSONB, nullable=False),
    sa.Column("results", JSONB, nullable=True),
    moment("created_at", now=True),
    sa.PrimaryKeyConstraint("project_id", "id"),
    sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
    sa.Index("ix_push_tests_created_at", "created_at"),
)

# Every worker, as it was heard of last. Of no project: whoever may read a campaign may know that
# nobody works on it.
workers = sa.Table(
    "workers",
    metadata,
    identifier("id"),
    text("name"),
    # The newest migration that its code knows.
    text("revision"),
    moment("started_at", now=True),
    moment("beat_at", now=True),
    # `degradation.Trouble`; null where all is well.
    text("trouble", nullable=True),
    moment("trouble_since", nullable=True),
    sa.PrimaryKeyConstraint("id"),
)
