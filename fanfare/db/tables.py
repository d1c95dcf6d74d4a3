"""The tables. Migrations make them; a test holds the two equal.

Every table has `project_id`, first in every key: a row can be neither found nor clashed with from
another project. Two stand outside: `projects` itself, and `api_keys`, which is how a caller's
project becomes known. Ids that leave the system are UUIDv7; a device token is a bigint inside,
because the frozen audience holds one per device.
"""

from fanfare.db.audience_tables import (
    api_keys,
    app_users,
    credential_paces,
    credentials,
    idempotency_keys,
    projects,
    push_tokens,
    rate_paces,
    segment_memberships,
    segments,
    user_entitlements,
)
from fanfare.db.campaign_tables import (
    push_batches,
    push_buckets,
    push_campaigns,
    push_deliveries,
    push_owed,
    push_tests,
)
from fanfare.db.columns import metadata

__all__ = [
    "api_keys",
    "app_users",
    "credential_paces",
    "credentials",
    "idempotency_keys",
    "metadata",
    "projects",
    "push_batches",
    "push_buckets",
    "push_campaigns",
    "push_deliveries",
    "push_owed",
    "push_tests",
    "push_tokens",
    "rate_paces",
    "segment_memberships",
    "segments",
    "user_entitlements",
]
