"""Why campaigns do not move, as a part of a question about them."""

from fanfare.db import paces, workers
from fanfare.db.timings import Row
from fanfare.degradation import LATE, Degraded, Facts, degraded_of

# When the first turn of a campaign `c` may be that goes by zones or windows. In local time the
# first zone is 14 hours ahead of UTC.
_FIRST_TURN = """
    CASE c.delivery_mode WHEN 'local_time'
        THEN (c.local_date + c.local_time) AT TIME ZONE 'UTC' - interval '14 hours'
        ELSE c.scheduled_at END
"""

_IS_AHEAD = "u.frozen_at IS NULL AND u.opens_at >= c.armed_at"

# When a campaign `c` that is not paused should have begun; or since when it has been sending. A
# change of it gives it its minute anew, as whoever resumes it over its time expects.
_DUE = f"""
    CASE
        WHEN c.paused_at IS NOT NULL THEN NULL
        WHEN c.status = 'sending' THEN coalesce(c.begun_at, c.updated_at)
        WHEN c.status <> 'scheduled' THEN NULL
        WHEN c.delivery_mode = 'local_time' OR c.window_start IS NOT NULL THEN (
            SELECT CASE
                -- A worker plans it as soon as it is scheduled: none has.
                WHEN count(*) = 0 THEN greatest(c.updated_at, {_FIRST_TURN})
                WHEN count(*) FILTER (WHERE {_IS_AHEAD}) > 0
                    THEN greatest(c.updated_at, min(u.opens_at) FILTER (WHERE {_IS_AHEAD}))
                END
            FROM push_buckets u WHERE u.project_id = c.project_id AND u.campaign_id = c.id)
        ELSE greatest(c.updated_at, c.scheduled_at)
    END
"""  # noqa: S608 - constants alone

# Follows a FROM that names a campaign `c`. Of one that is not open the few workers are not read.
JOINED = f"""
    LEFT JOIN LATERAL (
        SELECT {_DUE} AS due_at
    ) AS moving ON true
    LEFT JOIN LATERAL (
        SELECT crew.*, moving.due_at < now() - interval '{int(LATE.total_seconds())} seconds'
            AND (c.status = 'scheduled' OR c.begun_at IS NULL) AS is_late
        FROM ({workers.CREW}) AS crew
        WHERE moving.due_at < now()
    ) AS crew ON true
"""  # noqa: S608 - constants alone

COLUMNS = f"""
    moving.due_at, crew.live, crew.well, crew.heard_at, crew.trouble, crew.trouble_since,
    crew.is_read_only, crew.is_late, ({paces.WHOLLY_HELD}) AS held_since
"""


def of_row(row: Row) -> Degraded | None:
    """What the row's columns of `COLUMNS` come to; it has the campaign's `status` too."""
    if row["live"] is None:
        return None
    return degraded_of(
        Facts(
            due_at=row["due_at"],
            is_late=row["is_late"],
            is_sending=row["status"] == "sending",
            crew=workers.crew_of(row),
            held_since=row["held_since"],
        )
    )
