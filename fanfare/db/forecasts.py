"""How many devices a campaign would go to: counted, not frozen. Nothing is stored."""

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.tables import app_users, push_batches, push_deliveries, push_tokens
from fanfare.entities import Campaign
from fanfare.forecasts import AudienceCounts, DeviceCount
from fanfare.models import Environment, Lane, Platform, ProjectCtx, ProviderName

_TOKENS = push_tokens.c
_NO_TIMEZONE = sa.null().label("timezone")
_KINDS = [(lane, platform) for lane in Lane for platform in Platform]


async def of_audience(
    conn: AsyncConnection,
    project: ProjectCtx,
    rule: sa.ColumnElement[bool],
    *,
    by_timezone: bool,
) -> AudienceCounts:
    """Count the users that match, and of their active devices those that `audience.freeze` takes.

    One pass over the users, or an index, and their devices: 1 microsecond of server time a user,
    2 or 3 `by_timezone`, and what the rule costs. Takes a connection that reads whole tables
    (`Database.audience`), and the statement names the project.
    """
    rows = (await conn.execute(_counting(project, rule, by_timezone=by_timezone))).mappings().all()
    return AudienceCounts(
        users=sum(row["users"] for row in rows),
        users_without_device=sum(row["without_device"] for row in rows),
        devices=[each for row in rows for each in _device_counts(row)],
    )


async def of_owed(conn: AsyncConnection, campaign: Campaign) -> AudienceCounts | None:
    """Count the active devices that a frozen campaign still owes a message, and their users.

    None where it is not frozen. Costs a look-up in the ledger for each device of its open batches.
    """
    if not (await conn.execute(sa.select(_is_frozen(campaign)))).scalar_one():
        return None
    row = (await conn.execute(_counting_owed(campaign))).mappings().one()
    return AudienceCounts(row["users"], 0, list(_device_counts(row)))


def _counting(
    project: ProjectCtx, rule: sa.ColumnElement[bool], *, by_timezone: bool
) -> sa.Select[Any]:
    # A user is in one zone: nobody is counted twice.
    timezone = app_users.c.timezone
    is_theirs = (
        (_TOKENS.project_id == project.project_id)
        & (_TOKENS.app_user_id == app_users.c.id)
        & _TOKENS.is_active
    )
    # Without DISTINCT the users had to be counted apart, and the rule evaluated twice.
    users = sa.func.count(sa.distinct(app_users.c.id)).label("users")
    without_device = sa.func.count().filter(_TOKENS.provider.is_(None)).label("without_device")
    zone = timezone if by_timezone else _NO_TIMEZONE
    return (
        _select(zone, users, without_device, *_by_kind())
        .select_from(app_users.outerjoin(push_tokens, is_theirs))
        .where(app_users.c.project_id == project.project_id, rule)
        .group_by(*([timezone] if by_timezone else []))
    )


# Any: columns of many types.
def _select(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    return sa.select(*columns)


def _by_kind() -> Iterator[sa.Label[int]]:
    """The devices of each kind in a column of its own."""
    lane = sa.case(
        (_TOKENS.provider == ProviderName.FCM, Lane.FCM.value),
        (_TOKENS.environment == Environment.SANDBOX, Lane.APNS_SANDBOX.value),
        else_=Lane.APNS.value,
    )
    for each, platform in _KINDS:
        is_such = (lane == each.value) & (_TOKENS.platform == platform.value)
        yield sa.func.count().filter(is_such).label(_name(each, platform))


def _device_counts(row: sa.RowMapping) -> Iterator[DeviceCount]:
    for lane, platform in _KINDS:
        if devices := row[_name(lane, platform)]:
            yield DeviceCount(lane, platform, row["timezone"], devices)


def _name(lane: Lane, platform: Platform) -> str:
    return f"{lane}_{platform}"


def _is_frozen(campaign: Campaign) -> sa.ColumnElement[bool]:
    return sa.exists().where(*_of(campaign, push_batches))


def _counting_owed(campaign: Campaign) -> sa.Select[Any]:
    """The active devices in open batches of which the ledger says nothing."""
    token_id = sa.func.unnest(push_batches.c.token_ids).label("token_id")
    is_open = push_batches.c.completed_at.is_(None)
    batched = sa.select(token_id).where(*_of(campaign, push_batches), is_open).subquery("batched")
    recorded = sa.exists().where(
        *_of(campaign, push_deliveries), push_deliveries.c.token_id == batched.c.token_id
    )
    users = sa.func.count(sa.distinct(_TOKENS.app_user_id)).label("users")
    return (
        _select(_NO_TIMEZONE, users, *_by_kind())
        .select_from(push_tokens.join(batched, _TOKENS.id == batched.c.token_id))
        .where(_TOKENS.project_id == campaign.project_id, _TOKENS.is_active, ~recorded)
    )


def _of(campaign: Campaign, table: sa.Table) -> Iterable[sa.ColumnElement[bool]]:
    return (
        table.c.project_id == campaign.project_id,
        table.c.campaign_id == campaign.id,
    )
