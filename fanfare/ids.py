"""Ids that leave the system: UUIDv7 (RFC 9562), so that they sort by the time of creation."""

from datetime import datetime
from uuid import UUID

import uuid_utils.compat

_RANDOM_BITS = 80


def new_id() -> UUID:
    """A fresh UUIDv7, larger than every earlier one of this process."""
    return uuid_utils.compat.uuid7()


def first_id_at(moment: datetime) -> UUID:
    """The smallest id that a UUIDv7 made at `moment` can have: a bound for ranges over time."""
    return UUID(int=int(moment.timestamp() * 1000) << _RANDOM_BITS)
