"""The table `segment_memberships`: who was in a segment when it was last refreshed, and since when.

A snapshot to look at. Sending never reads it: a campaign evaluates the rule itself.
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.tables import app_users, segment_memberships, segments
from fanfare.models import ProjectCtx

_COLUMNS = segment_memberships.c

# Two refreshes of one segment take turns. Whoever edits or reads it waits for neither; whoever
# deletes it waits for the one that is under way.
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:segment, 0))")


@dataclass(frozen=True, slots=True)
class Refreshed:
    """How many users the segment holds now, and how many of them are new, or left."""

    users: int
    entered: int
    left: int


async def lock(conn: AsyncConnection, project: ProjectCtx, segment_id: str) -> None:
    """Wait until nobody else refreshes the segment, and keep others out for the transaction."""
    await conn.execute(_LOCK, {"segment": f"refresh {project.project_id} {segment_id}"})


async def refresh(
    conn: AsyncConnection, project: ProjectCtx, segment_id: str, rule: sa.ColumnElement[bool]
) -> Refreshed:
    """Make the snapshot what the rule selects now, by the difference: who stays keeps entered_at.

    The rule is evaluated once, and no user passes through Python. Nothing here grows with the
    segment but PostgreSQL's temporary files.
    """
    found = (await conn.execute(_writing_difference(project, segment_id, rule))).one()
    count = sa.select(sa.func.count()).where(*_of(project, segment_id))
    users = (await conn.execute(count)).scalar_one()
    return Refreshed(users, found.entered, found.gone)


async def delete_of_segment(conn: AsyncConnection, project: ProjectCtx, segment_id: str) -> None:
    """Forget a segment's snapshot."""
    await conn.execute(sa.delete(segment_memberships).where(*_of(project, segment_id)))


async def delete_of_user(conn: AsyncConnection, project: ProjectCtx, user_id: object) -> None:
    """Take a user out of every snapshot: one look-up in the primary key for each segment."""
    own = sa.select(segments.c.id).where(segments.c.project_id == project.project_id)
    statement = sa.delete(segment_memberships).where(
        _COLUMNS.project_id == project.project_id,
        _COLUMNS.segment_id.in_(own),
        _COLUMNS.app_user_id == user_id,
    )
    await conn.execute(statement)


def _writing_difference(
    project: ProjectCtx, segment_id: str, rule: sa.ColumnElement[bool]
) -> sa.Select[int, int]:
    difference = _difference(project, segment_id, rule)
    leaving = (
        sa.delete(segment_memberships).where(_COLUMNS.ctid == difference.c.place).cte("leaving")
    )
    entering = (
        sa.insert(segment_memberships)
        .from_select(
            ["project_id", "segment_id", "app_user_id"],
            sa.select(
                sa.literal(project.project_id), sa.literal(segment_id), difference.c.user_id
            ).where(difference.c.user_id.is_not(None)),
        )
        .cte("entering")
    )
    return sa.select(
        sa.func.count(difference.c.user_id).label("entered"),
        sa.func.count(difference.c.place).label("gone"),
    ).add_cte(leaving, entering)


def _difference(project: ProjectCtx, segment_id: str, rule: sa.ColumnElement[bool]) -> sa.CTE:
    """A row for each user who enters (`user_id`), and for each row that is to go (`place`).

    A full join is always hashed or merged, so it stays linear where the planner is wrong about the
    sizes; it has no statistics on a rule over JSON, nor on a snapshot that was written just now.
    For the same reason rows go by their place in the table (ctid): nobody updates them.
    """
    matching = (
        sa.select(app_users.c.id)
        .where(app_users.c.project_id == project.project_id, rule)
        .subquery("matching")
    )
    member = (
        sa.select(_COLUMNS.app_user_id, _COLUMNS.ctid.label("place"))
        .where(*_of(project, segment_id))
        .subquery("member")
    )
    both = matching.join(member, member.c.app_user_id == matching.c.id, full=True)
    return (
        sa.select(matching.c.id.label("user_id"), member.c.place)
        .select_from(both)
        .where(matching.c.id.is_(None) | member.c.app_user_id.is_(None))
        .cte("difference")
    )


def _of(project: ProjectCtx, segment_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return _COLUMNS.project_id == project.project_id, _COLUMNS.segment_id == segment_id
