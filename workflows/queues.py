"""Task queues: one for workflows and what concerns a campaign as a whole, one per provider, and one
for the refresh of segments, which is heavy on the database and never urgent."""

from fanfare.models import Lane, ProviderName

MAIN = "fanfare"
SEGMENTS = "fanfare-segments"


def of_provider(provider: ProviderName) -> str:
    """Where a provider's batches wait, so that one provider's trouble never holds up the other."""
    return f"{MAIN}-{provider}"


def of_lane(lane: Lane) -> str:
    """Where a lane's batches wait: with those of its provider."""
    return of_provider(lane.provider)
