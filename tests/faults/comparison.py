"""The ledger laid beside the providers' account, as sets, by PostgreSQL: nothing but counts."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from fanfare.dev.reconciliation import Device


@dataclass(frozen=True, slots=True)
class Balance:
    """The parts of an audience at one moment. `strangers` are rows of nobody in it; `pending` is
    what the counters of the batches leave. `is_settled`: the campaign has ended, and what it leaves
    behind is settled."""

    status: str
    is_settled: bool
    audience: int
    members: int
    strangers: int
    rows: int
    pending: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many devices are not as they should be, and how many rows there are of each status."""

    not_final: int
    owed: int
    open_batches: int
    sent_unaccepted: int
    accepted_without_row: int
    accepted_and_denied: int
    repeated: int
    repeated_unflagged: int
    wrongly_deactivated: int
    wrongly_active: int
    sent: int
    failed: int
    skipped: int
    unknown: int
    possible_duplicates: int
    skipped_by: Mapping[str, int]


def balance(conn: psycopg.Connection, campaign_id: UUID) -> Balance:
    """The parts of the audience, of one snapshot."""
    with conn.cursor(row_factory=class_row(Balance)) as cursor:
        found = cursor.execute(_BALANCE, {"campaign": campaign_id}).fetchone()
    assert found is not None, campaign_id
    return found


def compare(
    conn: psycopg.Connection, campaign_id: UUID, taken: Mapping[Device, int], dead: Set[Device]
) -> Comparison:
    """What differs from how often each device accepted, and from which ones are dead.

    Makes temporary tables on the connection.
    """
    with conn.cursor(row_factory=class_row(Comparison)) as cursor:
        cursor.execute(_TABLES)
        with cursor.copy("COPY accepted FROM STDIN") as copy:
            for (provider, token), times in taken.items():
                copy.write_row((provider.value, token, times))
        with cursor.copy("COPY declared_dead FROM STDIN") as copy:
            for provider, token in dead:
                copy.write_row((provider.value, token))
        cursor.execute("ANALYZE accepted; ANALYZE declared_dead")
        found = cursor.execute(_COMPARE, {"campaign": campaign_id}).fetchone()
    assert found is not None
    return found


_BALANCE = """
    WITH campaign AS (
        SELECT project_id, id, status, settled_at IS NOT NULL AS is_settled,
               coalesce(audience, 0) AS audience
        FROM push_campaigns WHERE id = %(campaign)s
    ),
    batches AS (
        SELECT b.token_ids, b.sent + b.failed + b.skipped + b.unknown AS final
        FROM campaign c JOIN push_batches b ON b.project_id = c.project_id AND b.campaign_id = c.id
    ),
    members AS (SELECT DISTINCT token_id FROM batches, unnest(token_ids) AS token_id),
    deliveries AS (
        SELECT d.token_id FROM campaign c
        JOIN push_deliveries d ON d.project_id = c.project_id AND d.campaign_id = c.id
    )
    SELECT status, is_settled, audience,
        (SELECT count(*) FROM members) AS members,
        (SELECT count(*) FROM deliveries d
         WHERE NOT EXISTS (SELECT FROM members m WHERE m.token_id = d.token_id)) AS strangers,
        (SELECT count(*) FROM deliveries) AS rows,
        (audience - (SELECT coalesce(sum(final), 0) FROM batches))::bigint AS pending
    FROM campaign
"""

_TABLES = """
    CREATE TEMP TABLE IF NOT EXISTS accepted (provider text, token text, times int);
    CREATE TEMP TABLE IF NOT EXISTS declared_dead (provider text, token text);
    TRUNCATE accepted, declared_dead
"""

# `lines` has one line for each device that has a row, accepted the message, or both.
_COMPARE = """
    WITH campaign AS (SELECT project_id, id FROM push_campaigns WHERE id = %(campaign)s),
    tokens AS (SELECT t.* FROM campaign c JOIN push_tokens t ON t.project_id = c.project_id),
    recorded AS (
        SELECT t.provider, t.token, d.token_id, d.status, d.reason,
               d.possible_duplicate
        FROM campaign c
        JOIN push_deliveries d ON d.project_id = c.project_id AND d.campaign_id = c.id
        LEFT JOIN tokens t ON t.id = d.token_id
    ),
    lines AS (
        SELECT r.token_id, r.status, coalesce(r.possible_duplicate, false) AS flagged,
               coalesce(a.times, 0) AS times
        FROM recorded r FULL JOIN accepted a ON a.provider = r.provider AND a.token = r.token
    ),
    deactivated AS (
        SELECT provider, token FROM tokens
        WHERE NOT is_active AND deactivated_reason NOT IN ('moved', 'unregistered_by_app')
    ),
    wrongs AS (
        SELECT count(*) FILTER (WHERE dead.token IS NULL) AS wrongly_deactivated,
               count(*) FILTER (WHERE gone.token IS NULL) AS wrongly_active
        FROM deactivated gone FULL JOIN declared_dead dead
            ON dead.provider = gone.provider AND dead.token = gone.token
    )
    SELECT
        count(*) FILTER (WHERE status NOT IN ('sent', 'failed', 'skipped', 'unknown'))
            AS not_final,
        (SELECT count(*) FROM push_owed o, campaign c
         WHERE o.project_id = c.project_id AND o.campaign_id = c.id) AS owed,
        (SELECT count(*) FROM push_batches b, campaign c
         WHERE b.project_id = c.project_id AND b.campaign_id = c.id
           AND b.completed_at IS NULL) AS open_batches,
        count(*) FILTER (WHERE status = 'sent' AND times = 0) AS sent_unaccepted,
        count(*) FILTER (WHERE token_id IS NULL) AS accepted_without_row,
        count(*) FILTER (WHERE times > 0 AND status NOT IN ('sent', 'unknown'))
            AS accepted_and_denied,
        count(*) FILTER (WHERE times > 1) AS repeated,
        count(*) FILTER (WHERE times > 1 AND NOT flagged) AS repeated_unflagged,
        (SELECT wrongly_deactivated FROM wrongs), (SELECT wrongly_active FROM wrongs),
        count(*) FILTER (WHERE status = 'sent') AS sent,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        count(*) FILTER (WHERE status = 'skipped') AS skipped,
        count(*) FILTER (WHERE status = 'unknown') AS unknown,
        count(*) FILTER (WHERE flagged) AS possible_duplicates,
        (SELECT coalesce(jsonb_object_agg(reason, rows), '{}') FROM (
            SELECT reason, count(*) AS rows FROM recorded WHERE status = 'skipped' GROUP BY reason
         ) AS reasons) AS skipped_by
    FROM lines
"""
