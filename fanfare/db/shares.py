"""Shares: which users' turn it is, as a condition for the statement that freezes them.

A user's zone is the campaign's fallback where the user has none, or one that is not known here.
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from fanfare.db.tables import app_users, push_batches, push_buckets, push_tokens
from fanfare.entities import Campaign
from fanfare.models import PastPolicy
from fanfare.schedule import known_timezones

# The bucket of those whose time had passed before their turn came: nothing is sent to them.
PAST = -1


@dataclass(frozen=True, slots=True)
class Share:
    """A part of an audience: the devices for which `condition` holds.

    `bucket`: into whose batches each goes; `turns`: what is to be joined for that, on `zone`, None
    where all go into one. `asks_who_is_in`: whether the condition is also about who is in already;
    `takes_everybody`: also who has no turn.
    """

    bucket: sa.ColumnElement[int]
    condition: sa.ColumnElement[bool]
    turns: sa.FromClause | None = None
    zone: sa.ColumnElement[bool] | None = None
    asks_who_is_in: bool = False
    takes_everybody: bool = False


def whole(number: int) -> Share:
    """Everybody."""
    return Share(sa.literal(number), sa.true())


def by_zone(campaign: Campaign) -> Share:
    """Everybody, each in the bucket of their zone."""
    turns = _turns(campaign, push_buckets.c.number, sa.true())
    # Where the plan was made by a machine that knows fewer zones: better soon than never.
    first = sa.select(sa.func.min(push_buckets.c.number)).where(*_of(campaign)).scalar_subquery()
    bucket = sa.func.coalesce(turns.c.number, first)
    zone = turns.c.zone == _zone_of_user(campaign)
    return Share(bucket, sa.true(), turns, zone, takes_everybody=True)


def of_bucket(campaign: Campaign, number: int) -> Share:
    """Those in the bucket's zones; where the campaign would rather be late than silent, also who
    has moved since into a zone whose turn was before. Nobody who had a turn has another."""
    columns = push_buckets.c
    is_turn: sa.ColumnElement[bool] = columns.number == number
    fires_at = sa.select(columns.fires_at).where(*_of(campaign), is_turn).scalar_subquery()
    if campaign.timing.past_policy is PastPolicy.SEND_NOW:
        is_turn |= columns.fires_at < fires_at
    turns = _turns(campaign, sa.literal(number), is_turn)
    was_known = turns.c.is_turn | (app_users.c.created_at <= campaign.begun_at)
    condition = was_known & ~_is_in_audience(campaign)
    zone = turns.c.zone == _zone_of_user(campaign)
    return Share(turns.c.number, condition, turns, zone, asks_who_is_in=True)


def past(campaign: Campaign) -> Share:
    """Who has had no turn, of those that were known when the first one came."""
    was_known = app_users.c.created_at <= campaign.begun_at
    condition = was_known & ~_is_in_audience(campaign)
    return Share(sa.literal(PAST), condition, asks_who_is_in=True)


def _turns(
    campaign: Campaign, number: sa.ColumnElement[int], condition: sa.ColumnElement[bool]
) -> sa.Subquery:
    """Zone by zone: in which bucket, and whether it is that one's own."""
    zone = sa.func.unnest(push_buckets.c.timezones).label("zone")
    return (
        sa.select(number.label("number"), zone, push_buckets.c.frozen_at.is_(None).label("is_turn"))
        .where(*_of(campaign), condition)
        .subquery("turns")
    )


def _zone_of_user(campaign: Campaign) -> sa.ColumnElement[str]:
    known = sa.literal(sorted(known_timezones()), ARRAY(sa.Text))
    is_known = app_users.c.timezone == sa.any_(known)
    return sa.case((is_known, app_users.c.timezone), else_=campaign.timing.timezone_fallback)


def _is_in_audience(campaign: Campaign) -> sa.ColumnElement[bool]:
    """Whether one of the user's devices is in: one that came since has had no turn of its own."""
    batches, had = push_batches.c, push_tokens.alias("had").c
    token = (
        sa.select(sa.func.unnest(batches.token_ids).label("id"))
        .where(batches.project_id == campaign.project_id, batches.campaign_id == campaign.id)
        .subquery("token")
    )
    taken = (
        sa.select(had.app_user_id)
        .join(token, had.id == token.c.id)
        .where(had.project_id == campaign.project_id)
        .subquery("taken")
    )
    return sa.exists().where(taken.c.app_user_id == push_tokens.c.app_user_id)


def _of(campaign: Campaign) -> tuple[sa.ColumnElement[bool], ...]:
    columns = push_buckets.c
    return columns.project_id == campaign.project_id, columns.campaign_id == campaign.id
