"""The table `push_deliveries`, the ledger: one row per token of a campaign, once its end is known.

A row is inserted in the same transaction as the counts of its batch, and stays. Two things are done
to it later: a second acceptance flags it, and a campaign whose credential was wrong takes the
refusals back that it got.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.ledger_pool import LedgerConnection
from fanfare.db.rows import Page, PageRequest, page_of
from fanfare.db.tables import push_deliveries, push_tokens
from fanfare.entities import Delivery
from fanfare.models import DeliveryStatus, Platform, ProjectCtx, ProviderName, SkipReason
from fanfare.payload import apns_id

# Parts the values of a column on their way: ASCII's unit separator, which no word of ours or of a
# provider's contains.
SEPARATOR = "\x1f"


class FinalOutcome(NamedTuple):
    """The end of one message, as the ledger keeps it; the fields stand as in `INSERT`."""

    token_id: int
    possible_duplicate: bool
    status: DeliveryStatus
    error_code: str | None = None
    reason: str | None = None
    provider_message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """Which rows are new, and how many of the others were flagged as accepted twice."""

    new: frozenset[int]
    flagged: int


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which lines of a ledger a list shows."""

    status: DeliveryStatus | None = None
    error_code: str | None = None
    app_user_id: UUID | None = None


def columns_of(outcomes: Sequence[FinalOutcome]) -> Mapping[str, str]:
    """The parameters of `INSERT`, but for project and campaign: each column as one text.

    psycopg writes a list element by element, in Python; joined here and split by the server it
    costs a third of that, and less than COPY with the statements around it (docs/benchmarks.md).
    """
    columns = zip(*outcomes, strict=True)
    return dict(zip(FinalOutcome._fields, map(_joined, columns), strict=True))


async def record_missing(
    conn: LedgerConnection, project: ProjectCtx, campaign_id: UUID, outcomes: Sequence[FinalOutcome]
) -> Written:
    """Write those outcomes of which there is no row yet, and flag what was accepted twice.

    In a transaction of the caller. A row that is there already is another attempt's where ours
    was a repeat, or the other was: then that one is flagged as it is. Else nobody but us was asked,
    and the row is our own, of a commit whose acknowledgement was lost.
    """
    keys = {"project_id": project.project_id, "campaign_id": campaign_id}
    values = {**keys, **columns_of(outcomes)}
    rows = await (await conn.execute(_RECORD_MISSING, values)).fetchall()
    new = frozenset(token_id for (token_id,) in rows)
    repeated = (one for one in outcomes if one.possible_duplicate)
    sent = (one.token_id for one in repeated if one.status is DeliveryStatus.SENT)
    again = [token_id for token_id in sent if token_id not in new]
    # A statement of its own: only so it sees the rows that the one before had to wait for.
    flagged = await conn.execute(_FLAG, {**keys, "token_ids": again})
    return Written(new, flagged.rowcount)


async def close_rest(
    conn: LedgerConnection,
    project: ProjectCtx,
    campaign_id: UUID,
    reason: SkipReason,
    *,
    number: int | None = None,
    bucket: int | None = None,
) -> None:
    """Make final whatever has no row yet, in one batch, a bucket or all: `skipped` for the reason.

    What was claimed and never answered ends as `unknown`: it may have been accepted. Call it only
    where nobody claims of these batches any more (see `claims.hold`).
    """
    values = {
        "project_id": project.project_id,
        "campaign_id": campaign_id,
        "number": number,
        "bucket": bucket,
        "reason": reason.value,
    }
    await conn.execute(_CLOSE_REST, values)


async def count(conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID) -> int:
    """How many rows the campaign has in the ledger."""
    columns = push_deliveries.c
    statement = sa.select(sa.func.count()).where(
        columns.project_id == project.project_id, columns.campaign_id == campaign_id
    )
    return int((await conn.execute(statement)).scalar_one())


async def page(
    conn: AsyncConnection,
    project: ProjectCtx,
    campaign_id: UUID,
    request: PageRequest,
    wanted: DeliveryFilter,
) -> Page[Delivery]:
    """A page of a campaign's ledger, by token id."""
    lines = _lines(project, campaign_id, wanted).limit(request.limit + 1)
    if (after := request.after_number()) is not None:
        lines = lines.where(push_deliveries.c.token_id > after)
    found = [_delivery(row) for row in (await conn.execute(_with_devices(lines))).mappings()]
    return page_of(found, request, lambda delivery: [delivery.token_id])


def _with_devices(lines: sa.Select[tuple[object, ...]]) -> sa.Select[tuple[object, ...]]:
    """The lines with what is known of their devices, looked up one by one.

    The lines are limited first. Joined before that, the tokens would be read from the project's
    first one on, for each page again.
    """
    ledger, tokens = lines.subquery("lines").c, push_tokens.c
    return (
        sa.select(*ledger, tokens.app_user_id, tokens.provider, tokens.platform)
        .outerjoin(
            push_tokens,
            (tokens.project_id == ledger.project_id) & (tokens.id == ledger.token_id),
        )
        .order_by(ledger.token_id)
    )


def _lines(
    project: ProjectCtx, campaign_id: UUID, wanted: DeliveryFilter
) -> sa.Select[tuple[object, ...]]:
    ledger = push_deliveries.c
    statement = (
        sa.select(push_deliveries)
        .where(ledger.project_id == project.project_id, ledger.campaign_id == campaign_id)
        .order_by(ledger.token_id)
    )
    if wanted.status is not None:
        statement = statement.where(ledger.status == wanted.status)
    if wanted.error_code is not None:
        # Only rows that did not succeed carry a code; saying so lets the partial index serve.
        statement = statement.where(
            ledger.error_code == wanted.error_code, ledger.status != DeliveryStatus.SENT
        )
    if wanted.app_user_id is not None:
        statement = statement.where(ledger.token_id.in_(_tokens_of(project, wanted.app_user_id)))
    return statement


def _tokens_of(project: ProjectCtx, app_user_id: UUID) -> sa.Select[tuple[int]]:
    tokens = push_tokens.alias("of_user").c
    return sa.select(tokens.id).where(
        tokens.project_id == project.project_id, tokens.app_user_id == app_user_id
    )


def _delivery(row: sa.RowMapping) -> Delivery:
    provider, platform = row["provider"], row["platform"]
    return Delivery(
        campaign_id=row["campaign_id"],
        token_id=row["token_id"],
        app_user_id=row["app_user_id"],
        provider=None if provider is None else ProviderName(provider),
        platform=None if platform is None else Platform(platform),
        status=DeliveryStatus(row["status"]),
        error_code=row["error_code"],
        reason=row["reason"],
        provider_message_id=_message_id(row),
        possible_duplicate=row["possible_duplicate"],
        recorded_at=row["recorded_at"],
    )


def _message_id(row: sa.RowMapping) -> str | None:
    # An apns-id is made of campaign and token, so it is not stored.
    if row["provider"] == ProviderName.APNS and row["status"] == DeliveryStatus.SENT:
        return apns_id(row["campaign_id"], row["token_id"])
    message_id: str | None = row["provider_message_id"]
    return message_id


def _joined(values: Sequence[object]) -> str:
    texts = ["" if value is None else str(value) for value in values]
    joined = SEPARATOR.join(texts)
    # One value too many would move all that follow to another message.
    if joined.count(SEPARATOR) != len(texts) - 1:
        return SEPARATOR.join([text.replace(SEPARATOR, "") for text in texts])
    return joined


INSERT = f"""
    INSERT INTO push_deliveries (project_id, campaign_id, token_id, possible_duplicate, status,
                                 error_code, reason, provider_message_id)
    SELECT %(project_id)s, %(campaign_id)s, outcome.*
    FROM unnest(string_to_array(%(token_id)s, '{SEPARATOR}')::bigint[],
                string_to_array(%(possible_duplicate)s, '{SEPARATOR}')::boolean[],
                string_to_array(%(status)s, '{SEPARATOR}'),
                string_to_array(%(error_code)s, '{SEPARATOR}', ''),
                string_to_array(%(reason)s, '{SEPARATOR}', ''),
                string_to_array(%(provider_message_id)s, '{SEPARATOR}', '')) AS outcome
"""  # noqa: S608 - a constant of ours

_RECORD_MISSING = f"""
    {INSERT}
    ON CONFLICT (project_id, campaign_id, token_id) DO NOTHING
    RETURNING token_id
"""

_FLAG = """
    UPDATE push_deliveries SET possible_duplicate = true
    WHERE project_id = %(project_id)s AND campaign_id = %(campaign_id)s
      AND token_id = ANY(%(token_ids)s::bigint[]) AND status = 'sent' AND NOT possible_duplicate
"""

# OFFSET 0: a look-up per token by the primary key, whatever the statistics say.
_CLOSE_REST = """
    WITH rest AS (
        SELECT b.number, taken.token_id,
               (taken.place <= b.claimed AND coalesce(o.ambiguous, true)) AS maybe_sent
        FROM push_batches b
        CROSS JOIN unnest(b.token_ids) WITH ORDINALITY AS taken(token_id, place)
        LEFT JOIN push_owed o ON o.project_id = b.project_id AND o.campaign_id = b.campaign_id
            AND o.number = b.number AND o.token_id = taken.token_id
        WHERE b.project_id = %(project_id)s AND b.campaign_id = %(campaign_id)s
          AND b.completed_at IS NULL
          AND (%(number)s::int IS NULL OR b.number = %(number)s)
          AND (%(bucket)s::int IS NULL OR b.bucket = %(bucket)s)
          AND NOT EXISTS (
              SELECT FROM push_deliveries d WHERE d.project_id = b.project_id
                AND d.campaign_id = b.campaign_id AND d.token_id = taken.token_id OFFSET 0)
    ),
    written AS (
        INSERT INTO push_deliveries (project_id, campaign_id, token_id, status, error_code, reason)
        SELECT %(project_id)s, %(campaign_id)s, token_id,
               CASE WHEN maybe_sent THEN 'unknown' ELSE 'skipped' END,
               CASE WHEN maybe_sent THEN 'no_answer' END,
               CASE WHEN maybe_sent THEN 'interrupted' ELSE %(reason)s::text END
        FROM rest
        ON CONFLICT DO NOTHING
        RETURNING token_id
    ),
    forgotten AS (
        DELETE FROM push_owed
        WHERE project_id = %(project_id)s AND campaign_id = %(campaign_id)s
          AND (%(number)s::int IS NULL OR number = %(number)s)
          AND %(bucket)s::int IS NULL
    ),
    sums AS (
        SELECT number, count(*) FILTER (WHERE maybe_sent) AS unknown,
               count(*) FILTER (WHERE NOT maybe_sent) AS skipped
        FROM rest JOIN written USING (token_id) GROUP BY number
    )
    UPDATE push_batches b SET
        unknown = b.unknown + sums.unknown, skipped = b.skipped + sums.skipped,
        skipped_by = CASE WHEN sums.skipped = 0 THEN b.skipped_by ELSE b.skipped_by
            || jsonb_build_object(%(reason)s::text,
                coalesce((b.skipped_by ->> %(reason)s::text)::int, 0) + sums.skipped) END
    FROM sums
    WHERE b.project_id = %(project_id)s AND b.campaign_id = %(campaign_id)s
      AND b.number = sums.number
"""
