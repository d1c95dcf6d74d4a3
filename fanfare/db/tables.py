"""The tables. Migrations make them; a test holds the two equal.

Every table has `project_id`, first in every key: a row can be neither found nor clashed with from
another project. Four stand outside: `projects` itself, `api_keys`, which is how a caller's project
becomes known, `installation`, which is about the database, and `workers`, who work for all. Ids
that leave the system are UUIDv7; a device token is a bigint inside, because the frozen audience
holds one per device.
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
    workers,
)
from fanfare.db.columns import metadata
from fanfare.db.installation_table import installation

__all__ = [
    "api_keys",
    "app_users",
    "credential_paces",
    "credentials",
    "idempotency_keys",
    "installation",
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
    "workers",
]
