"""Why campaigns do not move, as a part of a question about them."""

from fanfare.db import paces, workers
from fanfare.db.timings import Row
from fanfare.degradation import LATE, Degraded, Facts, degraded_of

# When a campaign `c` that is not paused should have begun; or since when it has been sending. A
# change of it gives it its minute anew, as whoever resumes it over its time expects.
_DUE = """
    CASE
        WHEN c.paused_at IS NOT NULL THEN NULL
        WHEN c.status = 'sending' THEN coalesce(c.begun_at, c.updated_at)
        WHEN c.status <> 'scheduled' THEN NULL
        WHEN c.delivery_mode = 'local_time' OR c.window_start IS NOT NULL THEN (
            SELECT greatest(c.updated_at, min(u.opens_at)) FROM push_buckets u
            WHERE u.project_id = c.project_id AND u.campaign_id = c.id
                AND u.frozen_at IS NULL AND u.opens_at >= c.armed_at
            HAVING count(*) > 0)
        ELSE greatest(c.updated_at, c.scheduled_at)
    END
"""

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
