"""The activities that keep the snapshot of who is in which segment."""

from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.heartbeats import beating
from fanfare.db import memberships, segments
from fanfare.db.engine import Database, limit_statements, plan_anew
from fanfare.db.memberships import Refreshed
from fanfare.errors import QueryTookTooLong, SegmentNotFound
from fanfare.models import ProjectCtx
from fanfare.segments.compiler import compile_rule
from fanfare.segments.errors import InvalidRules, RulesTooDeep
from fanfare.segments.grammar import parse_rules
from workflows.stubs import SegmentActivities, SegmentCounts, SegmentIds, SegmentKey, SegmentPage

# Shorter than the activity may take (workflows/segments.py), so that a rule that takes for ever is
# told from a worker that died.
STATEMENT_TIMEOUT = timedelta(minutes=8)

log = structlog.get_logger()


class Segments(SegmentActivities):
    """Implements the refresh with the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="list_segments")
    async def list_segments(self, page: SegmentPage) -> SegmentIds:
        """A page of the project's segments. A second run reads it again."""
        async with self._database.transaction() as conn:
            project = ProjectCtx(page.project_id)
            return SegmentIds(ids=await segments.ids_after(conn, project, page.after, page.limit))

    @activity.defn(name="refresh_segment")
    async def refresh_segment(self, key: SegmentKey) -> SegmentCounts:
        """Make the segment's snapshot what its rules select now; all of it or nothing.

        A second run finds little to change. One that was deleted meanwhile counts as refreshed:
        there is nothing left to do for it.
        """
        try:
            async with beating(), self._database.transaction() as conn:
                found = await _refresh(conn, ProjectCtx(key.project_id), key.segment_id)
        except SegmentNotFound:
            return SegmentCounts(users=0, entered=0, left=0)
        except (InvalidRules, RulesTooDeep) as error:
            raise _failure("INVALID_SEGMENT_RULES", f"The segment's rules: {error}") from error
        except QueryTookTooLong as error:
            raise _failure("SEGMENT_TOO_SLOW", "The rules take too long.") from error
        log.info("segment_refreshed", segment_id=key.segment_id, users=found.users)
        return SegmentCounts(users=found.users, entered=found.entered, left=found.left)


async def _refresh(conn: AsyncConnection, project: ProjectCtx, segment_id: str) -> Refreshed:
    await limit_statements(conn, STATEMENT_TIMEOUT)
    await plan_anew(conn)
    await memberships.lock(conn, project, segment_id)
    segment = await segments.hold(conn, project, segment_id)
    rule = compile_rule(parse_rules(segment.rules))
    found = await memberships.refresh(conn, project, segment_id, rule)
    if not await segments.note_evaluation(conn, project, segment, found):
        raise ApplicationError("The rules were changed meanwhile.", type="SEGMENT_CHANGED")
    return found


def _failure(code: str, message: str) -> ApplicationError:
    return ApplicationError(message, type=code, non_retryable=True)
