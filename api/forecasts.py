"""What a campaign would do if it went out now, by the project as it is now. Nothing is stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from api.resources import Resources
from fanfare import entities, forecasts
from fanfare.db import campaigns, credentials, projects, segments
from fanfare.db import forecasts as counts
from fanfare.db.campaigns import NewCampaign
from fanfare.entities import Campaign, Limits, Timing
from fanfare.errors import SegmentNotEvaluated
from fanfare.forecasts import AudienceCounts, AudienceForecast
from fanfare.models import CampaignStatus, Lane, ProjectCtx
from fanfare.segments.compiler import compile_rule
from fanfare.segments.errors import InvalidRules, RulesTooDeep
from fanfare.segments.grammar import parse_rules


@dataclass(frozen=True, slots=True)
class Planned:
    """A campaign as it is to go out. `saved`: the stored one, where there is one already."""

    said: NewCampaign
    saved: Campaign | None = None

    @classmethod
    def of(cls, campaign: Campaign) -> "Planned":
        """A stored campaign as it is."""
        return cls(NewCampaign.of(campaign), campaign)

    def armed_at(self, now: datetime) -> datetime:
        """Since when it is meant to go out: what was past then is past."""
        saved = self.saved
        if saved is None or saved.status is not CampaignStatus.SCHEDULED:
            return now
        is_same_time = saved.timing == self.said.timing
        return saved.armed_at if is_same_time and saved.armed_at is not None else now


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a planned campaign would do, and what it depends on besides itself."""

    project: entities.Project
    rules: Mapping[str, object] | None
    limits: Mapping[Lane, Limits]
    forecast: AudienceForecast

    @property
    def sends(self) -> int:
        """To how many devices it would go."""
        return self.forecast.sends

    @property
    def needs_confirmation(self) -> bool:
        """Whether the project asks for a confirmation of an audience of this size."""
        above = self.project.confirm_above
        return above is not None and self.sends > above


@dataclass(frozen=True, slots=True)
class _Facts:
    project: entities.Project
    rules: Mapping[str, object] | None
    limits: Mapping[Lane, Limits]
    # Who was owed a message has had their turn: no timing parts them any more.
    owed: AudienceCounts | None


async def look(
    resources: Resources, project: ProjectCtx, planned: Planned, *, now: datetime
) -> Outlook:
    """Evaluate the campaign's rules and count. Costs what `db.forecasts.of_audience` says.

    Of a campaign that failed on its way, what is left of the audience that was frozen; those whose
    turn, in local time, had not come yet are not in it.
    Raises SegmentNotFound, SegmentNotEvaluated or DatabaseUnavailable.
    """
    facts = await _facts(resources, project, planned)
    audience, timing = facts.owed, Timing()
    if audience is None:
        audience = await _audience(resources, project, planned, facts.rules)
        timing = planned.said.timing
    forecast = forecasts.forecast(
        audience,
        timing,
        facts.limits.keys(),
        armed_at=planned.armed_at(now),
        expires_at=planned.said.expires_at,
    )
    return Outlook(facts.project, facts.rules, facts.limits, forecast)


async def _facts(resources: Resources, project: ProjectCtx, planned: Planned) -> _Facts:
    segment_id = planned.said.segment_id
    async with resources.database.project(project) as conn:
        rules = None if segment_id is None else await _rules(conn, project, planned, segment_id)
        stored = await credentials.all_of(conn, project)
        return _Facts(
            project=await projects.get(conn, project),
            rules=rules,
            limits={Lane.of(each.provider, each.environment): each.limits for each in stored},
            owed=await _owed(conn, planned.saved),
        )


async def _rules(
    conn: AsyncConnection, project: ProjectCtx, planned: Planned, segment_id: str
) -> Mapping[str, object]:
    """The segment's; but a campaign that has begun keeps to those that it began with."""
    if planned.saved is not None:
        kept = await campaigns.frozen_rules(conn, planned.saved)
        if kept is not None:
            return kept
    segment = await segments.get(conn, project, segment_id)
    return segment.rules


async def _owed(conn: AsyncConnection, saved: Campaign | None) -> AudienceCounts | None:
    if saved is None or saved.status is not CampaignStatus.FAILED:
        return None
    return await counts.of_owed(conn, saved)


async def _audience(
    resources: Resources,
    project: ProjectCtx,
    planned: Planned,
    rules: Mapping[str, object] | None,
) -> AudienceCounts:
    condition = _condition(rules)
    by_timezone = planned.said.timing.goes_by_zones
    async with resources.database.audience() as conn:
        return await counts.of_audience(conn, project, condition, by_timezone=by_timezone)


def _condition(rules: Mapping[str, object] | None) -> sa.ColumnElement[bool]:
    if rules is None:
        return sa.true()
    try:
        return compile_rule(parse_rules(rules))
    except (InvalidRules, RulesTooDeep) as error:
        # They were checked when they were written: by another version than this.
        raise SegmentNotEvaluated(f"The segment's rules cannot be read: {error}") from error
