"""When a campaign goes out, as columns of its row and back."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeAlias

import sqlalchemy as sa

from fanfare.entities import Timing
from fanfare.models import DeliveryMode, PastPolicy
from fanfare.schedule import DeliveryWindow

# What SQLAlchemy or psycopg gives; its columns are of many types.
Row: TypeAlias = sa.RowMapping | Mapping[str, Any]

# What `window_timezone` says for each user's own.
USER = "user"


def values_of(timing: Timing) -> dict[str, object]:
    """As column values."""
    return {
        "scheduled_at": timing.scheduled_at,
        "delivery_mode": timing.delivery_mode,
        "local_date": timing.local_date,
        "local_time": timing.local_time,
        "timezone_fallback": timing.timezone_fallback,
        "past_policy": timing.past_policy,
        "max_lateness_seconds": int(timing.max_lateness.total_seconds()),
        **_window_values(timing.window),
    }


def from_row(row: Row) -> Timing:
    """The timing in a row that has the table's columns by their names."""
    return Timing(
        scheduled_at=row["scheduled_at"],
        delivery_mode=DeliveryMode(row["delivery_mode"]),
        local_date=row["local_date"],
        local_time=row["local_time"],
        timezone_fallback=row["timezone_fallback"],
        past_policy=PastPolicy(row["past_policy"]),
        window=_window(row),
        max_lateness=timedelta(seconds=row["max_lateness_seconds"]),
    )


def _window_values(window: DeliveryWindow | None) -> dict[str, object]:
    if window is None:
        return {"window_start": None, "window_end": None, "window_timezone": None}
    return {
        "window_start": window.start,
        "window_end": window.end,
        "window_timezone": USER if window.timezone is None else window.timezone,
    }


def _window(row: Row) -> DeliveryWindow | None:
    zone = row["window_timezone"]
    if zone is None:
        return None
    return DeliveryWindow(row["window_start"], row["window_end"], None if zone == USER else zone)
