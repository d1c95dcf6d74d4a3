"""What became of one user in one campaign, for whoever asks why a message did not come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db import segments, turns
from fanfare.db.tables import app_users
from fanfare.db.turns import Frozen
from fanfare.entities import Campaign
from fanfare.errors import SegmentNotFound
from fanfare.explanations import decisions
from fanfare.explanations.facts import (
    DeviceExplanation,
    DeviceStatus,
    Explanation,
    Facts,
    RulesOf,
    RulesUnavailable,
    RuleVerdict,
)
from fanfare.models import Environment, Platform, ProjectCtx, ProviderName
from fanfare.segments.compiler import compile_rule
from fanfare.segments.errors import InvalidRules, RulesTooDeep
from fanfare.segments.grammar import Leaf, Rule, parse_rules
from fanfare.segments.verdicts import judge, leaves_of

# RFC 9562's nil UUID, which no user has: for whoever looks for one that does not exist.
NOBODY = UUID(int=0)

# A telephone that many people tried an app on may have thousands of rows that have moved on.
MAX_DEVICES = 100


@dataclass(frozen=True, slots=True)
class KnownRules:
    """Rules that can be evaluated, and whose they are."""

    rule: Rule
    rules: RulesOf


Rules: TypeAlias = KnownRules | RulesUnavailable | None


async def of_user(
    conn: AsyncConnection, project: ProjectCtx, campaign: Campaign, app_user_id: UUID
) -> Explanation:
    """What became of a user in a campaign, whether or not it was in the audience.

    `devices` are MAX_DEVICES at most: those of the ledger first, then the active ones. Some
    look-ups by key, and, where a device has no row in the ledger, one pass over the campaign's
    batches: some 25 ms for a million devices. `conn` sees the project.
    """
    frozen = await turns.frozen(conn, project, campaign.id)
    rules = await _rules(conn, project, campaign, frozen)
    user = await _user(conn, project, app_user_id, _leaves(rules))
    if user is None:
        known_as = None if app_user_id == NOBODY else app_user_id
        return decisions.unknown_user(known_as, frozen.asked_at)
    facts = Facts(
        campaign=campaign,
        app_user_id=app_user_id,
        external_id=user["external_id"],
        created_at=user["created_at"],
        rule=_judged(rules, user),
        turn=await turns.of_zone(conn, project, campaign, frozen, user["timezone"]),
        evaluated_at=user["evaluated_at"],
        devices=await _devices(conn, project, campaign.id, app_user_id),
    )
    return decisions.explain(facts)


async def _rules(
    conn: AsyncConnection, project: ProjectCtx, campaign: Campaign, frozen: Frozen
) -> Rules:
    """The rules of the freeze where they were kept, else the segment's present ones."""
    if campaign.segment_id is None:
        return None
    if frozen.rules is not None:
        return _read(frozen.rules, RulesOf.FROZEN)
    try:
        segment = await segments.get(conn, project, campaign.segment_id)
    except SegmentNotFound:
        return RulesUnavailable("its segment was deleted")
    return _read(segment.rules, RulesOf.CURRENT)


def _read(raw: Mapping[str, object], rules: RulesOf) -> KnownRules | RulesUnavailable:
    try:
        return KnownRules(parse_rules(raw), rules)
    except (InvalidRules, RulesTooDeep) as error:
        return RulesUnavailable(f"this version cannot read the segment's rules ({error})")


def _leaves(rules: Rules) -> Sequence[Leaf]:
    return leaves_of(rules.rule) if isinstance(rules, KnownRules) else []


async def _user(
    conn: AsyncConnection, project: ProjectCtx, app_user_id: UUID, leaves: Sequence[Leaf]
) -> sa.RowMapping | None:
    """The user, and whether each leaf matches: all in one statement, of one moment."""
    columns = app_users.c
    answers = [compile_rule(leaf).label(_column(place)) for place, leaf in enumerate(leaves)]
    statement = sa.select(
        columns.external_id,
        columns.timezone,
        columns.created_at,
        sa.func.statement_timestamp().label("evaluated_at"),
        *answers,
    ).where(columns.project_id == project.project_id, columns.id == app_user_id)
    return (await conn.execute(statement)).mappings().one_or_none()


def _judged(rules: Rules, user: sa.RowMapping) -> RuleVerdict | RulesUnavailable | None:
    if not isinstance(rules, KnownRules):
        return rules
    answers = [user[_column(place)] for place, _ in enumerate(leaves_of(rules.rule))]
    tree = judge(rules.rule, answers)
    return RuleVerdict(rules.rules, tree.matches, tree)


def _column(place: int) -> str:
    return f"leaf_{place}"


async def _devices(
    conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID, app_user_id: UUID
) -> Sequence[DeviceExplanation]:
    values = {"project": project.project_id, "campaign": campaign_id, "app_user": app_user_id}
    found = await conn.execute(_DEVICES, {**values, "limit": MAX_DEVICES})
    return [_device(row) for row in found.mappings()]


def _device(row: sa.RowMapping) -> DeviceExplanation:
    return DeviceExplanation(
        token_id=row["id"],
        platform=Platform(row["platform"]),
        provider=ProviderName(row["provider"]),
        environment=Environment(row["environment"]),
        is_active=row["is_active"],
        deactivated_reason=row["deactivated_reason"],
        registered_at=row["registered_at"],
        in_audience=row["status"] is not None or row["is_open"] is not None,
        status=_status(row),
        error_code=row["error_code"],
        reason=row["reason"],
    )


def _status(row: sa.RowMapping) -> DeviceStatus | None:
    if row["status"] is not None:
        return DeviceStatus(row["status"])
    # A batch that is complete had a row for each device, until the ledger's month was dropped.
    return DeviceStatus.PENDING if row["is_open"] else None


# One snapshot: a row that is written meanwhile is either in the ledger or pending. Of a campaign
# that is not done, few devices lack a row; of others, none that was in the audience.
_DEVICES = sa.text(
    """
    WITH devices AS MATERIALIZED (
        SELECT t.id, t.platform, t.provider, t.environment, t.is_active, t.deactivated_reason,
            t.registered_at, d.status, d.error_code, d.reason
        FROM push_tokens t
        LEFT JOIN push_deliveries d ON d.project_id = t.project_id AND d.token_id = t.id
            AND d.campaign_id = :campaign
        WHERE t.project_id = :project AND t.app_user_id = :app_user
        ORDER BY d.token_id IS NULL, t.is_active DESC, t.id DESC
        LIMIT :limit
    ),
    places AS (
        SELECT unnest(b.token_ids) AS token_id, b.completed_at IS NULL AS is_open
        FROM push_batches b
        WHERE b.project_id = :project AND b.campaign_id = :campaign
          AND b.token_ids && (SELECT array_agg(id) FROM devices WHERE status IS NULL)
    )
    SELECT devices.*, places.is_open
    FROM devices LEFT JOIN places ON places.token_id = devices.id
    ORDER BY devices.status IS NULL, devices.is_active DESC, devices.id DESC
    """
)
