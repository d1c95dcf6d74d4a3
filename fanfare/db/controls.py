"""What an operator does to a campaign that exists: pause, resume, cancel, change, remove.

The row is the word. Claims read it, so that a pause or a cancel stops them at its commit; the
workflow hears of a change by a signal, and of one that was lost from the upkeep, which finds a
`revision` that is not the `heard_revision`. Each control is idempotent.
"""

from dataclasses import replace
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db import buckets, campaigns, gates
from fanfare.db.campaigns import NewCampaign, from_row, is_campaign
from fanfare.db.tables import push_campaigns
from fanfare.entities import Campaign
from fanfare.errors import (
    CampaignNotCancellable,
    CampaignNotEditable,
    CampaignNotFound,
    CampaignNotPausable,
    CampaignNotResumable,
)
from fanfare.models import CampaignStatus, ProjectCtx

_COLUMNS = push_campaigns.c
_UNSENT = (CampaignStatus.DRAFT, CampaignStatus.SCHEDULED)
_OPEN = (CampaignStatus.SCHEDULED, CampaignStatus.SENDING)


async def pause(conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID) -> Campaign:
    """Let nothing more be claimed of it; a paused one stays as it is.

    Raises CampaignNotFound or CampaignNotPausable.
    """
    await gates.close(conn, campaign_id)
    running = _COLUMNS.status.in_(_OPEN), _COLUMNS.paused_at.is_(None)
    change = _changing(project, campaign_id).where(*running).values(paused_at=sa.func.now())
    if (paused := await _changed(conn, change)) is not None:
        return paused
    found = await campaigns.get(conn, project, campaign_id)
    if found.status not in _OPEN:
        raise CampaignNotPausable(f"The campaign is {found.status}; there is nothing to pause.")
    return found


async def resume(conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID) -> Campaign:
    """Let a paused one go on; one that is not paused stays as it is.

    Raises CampaignNotFound or CampaignNotResumable.
    """
    await gates.close(conn, campaign_id)
    resting = _COLUMNS.status.in_(_OPEN), _COLUMNS.paused_at.is_not(None)
    change = _changing(project, campaign_id).where(*resting).values(paused_at=None)
    if (resumed := await _changed(conn, change)) is not None:
        return resumed
    found = await campaigns.get(conn, project, campaign_id)
    if found.status not in _OPEN:
        raise CampaignNotResumable(_why_not_resumable(found))
    return found


async def cancel(conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID) -> Campaign:
    """End it; a cancelled one stays as it is. What its audience has not had is settled after that.

    Raises CampaignNotFound or CampaignNotCancellable.
    """
    await gates.close(conn, campaign_id)
    # Nothing to settle where nobody has begun.
    settled = sa.case((_COLUMNS.status == CampaignStatus.SCHEDULED, sa.func.now()))
    change = (
        _changing(project, campaign_id)
        .where(_COLUMNS.status.in_(_OPEN))
        .values(
            status=CampaignStatus.CANCELLED,
            cancelled_at=sa.func.now(),
            paused_at=None,
            settled_at=settled,
        )
    )
    if (cancelled := await _changed(conn, change)) is not None:
        return cancelled
    found = await campaigns.get(conn, project, campaign_id)
    if found.status is not CampaignStatus.CANCELLED:
        raise CampaignNotCancellable(_why_not_cancellable(found))
    return found


async def hold(conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID) -> Campaign:
    """The campaign, which nobody else changes before the transaction ends. Raises
    CampaignNotFound."""
    await gates.close(conn, campaign_id)
    statement = sa.select(push_campaigns).where(*is_campaign(project, campaign_id))
    # Its key stays: a freeze, whose batches refer to it, goes on.
    held = await conn.execute(statement.with_for_update(key_share=True))
    row = held.mappings().one_or_none()
    if row is None:
        raise CampaignNotFound(f"There is no campaign {campaign_id} in this project.")
    return from_row(row)


async def edit(conn: AsyncConnection, before: Campaign, after: NewCampaign) -> Campaign:
    """Write what is to be said from now on of a campaign that the caller holds (see `hold`).

    With a time it is `scheduled`, without one a `draft`; one that is on its way keeps its status,
    and may change its rate and its window only. What is so already is not written again. Raises
    CampaignNotEditable.
    """
    if before.status not in _UNSENT and not _may_change_on_its_way(before, after):
        raise CampaignNotEditable(_why_not_editable(before))
    if after == NewCampaign.of(before):
        return before
    values = after.values()
    if before.status in _UNSENT:
        values |= _arming(before, after)
    changing = _changing(ProjectCtx(before.project_id), before.id)
    edited = await _changed(conn, changing.values(values))
    assert edited is not None
    is_unbegun = before.status in _UNSENT or before.begun_at is None
    if is_unbegun and after.timing != before.timing:
        await buckets.forget_unfrozen(conn, edited)
    return edited


async def remove(conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID) -> Campaign:
    """Delete a draft or a scheduled campaign, and say what it was.

    Raises CampaignNotFound or CampaignNotEditable.
    """
    statement = (
        sa.delete(push_campaigns)
        .where(*is_campaign(project, campaign_id), _COLUMNS.status.in_(_UNSENT))
        .returning(push_campaigns)
    )
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        found = await campaigns.get(conn, project, campaign_id)
        raise CampaignNotEditable(f"The campaign is {found.status}; its ledger is kept.")
    return from_row(row)


async def hear(conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID) -> Campaign | None:
    """For the campaign's workflow: the row as it is, which is heard now. None where it is gone."""
    await gates.close(conn, campaign_id)
    statement = (
        sa.update(push_campaigns)
        .where(*is_campaign(project, campaign_id))
        .values(heard_revision=_COLUMNS.revision)
        .returning(push_campaigns)
    )
    row = (await conn.execute(statement)).mappings().one_or_none()
    return None if row is None else from_row(row)


async def settle(conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID) -> None:
    """Note that every device of a cancelled campaign's audience has had its end."""
    statement = (
        sa.update(push_campaigns)
        .where(*is_campaign(project, campaign_id), _COLUMNS.status == CampaignStatus.CANCELLED)
        .values(settled_at=sa.func.coalesce(_COLUMNS.settled_at, sa.func.now()))
    )
    await conn.execute(statement)


def _changing(project: ProjectCtx, campaign_id: UUID) -> sa.Update:
    return (
        sa.update(push_campaigns)
        .where(*is_campaign(project, campaign_id))
        .values(revision=_COLUMNS.revision + 1, updated_at=sa.func.now())
    )


async def _changed(conn: AsyncConnection, change: sa.Update) -> Campaign | None:
    row = (await conn.execute(change.returning(push_campaigns))).mappings().one_or_none()
    return None if row is None else from_row(row)


def _arming(before: Campaign, after: NewCampaign) -> dict[str, object]:
    """Its status, and since when it is meant to go out: what was past then is past."""
    if not after.timing.is_set:
        # Nobody follows a draft; whoever waited for its time hears of it all the same.
        return {"status": CampaignStatus.DRAFT, "armed_at": None, "paused_at": None}
    if before.status is CampaignStatus.SCHEDULED and after.timing == before.timing:
        return {}
    return {"status": CampaignStatus.SCHEDULED, "armed_at": sa.func.now()}


def _may_change_on_its_way(before: Campaign, after: NewCampaign) -> bool:
    if before.status not in {CampaignStatus.SENDING, CampaignStatus.FAILED}:
        return False
    timing = replace(before.timing, window=after.timing.window)
    allowed = replace(NewCampaign.of(before), rate_limit=after.rate_limit, timing=timing)
    return after == allowed and (before.timing.goes_by_zones or not timing.goes_by_zones)


def _why_not_editable(campaign: Campaign) -> str:
    if campaign.status in {CampaignStatus.SENDING, CampaignStatus.FAILED}:
        return (
            f"The campaign is {campaign.status}: only rate_limit can be changed now, and "
            "delivery_window, by users' own zones where it went by them before."
        )
    return f"The campaign is {campaign.status}; nothing of it can be changed."


def _why_not_resumable(campaign: Campaign) -> str:
    if campaign.status is CampaignStatus.FAILED:
        return "The campaign has failed, which is not paused: send it again for what it still owes."
    return f"The campaign is {campaign.status}; there is nothing to resume."


def _why_not_cancellable(campaign: Campaign) -> str:
    if campaign.status is CampaignStatus.DRAFT:
        return "The campaign is a draft: there is nothing to cancel. DELETE removes it."
    return f"The campaign is {campaign.status}; there is nothing to cancel."
