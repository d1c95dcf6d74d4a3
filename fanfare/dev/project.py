"""The project that the demonstration and the development stack work on, made through the API."""

from collections.abc import Callable, Iterator, Mapping

from fanfare.dev.api_client import ApiClient, NewProject
from fanfare.dev.processes import StackProblem
from fanfare.dev.seed import Seed
from fanfare.dev.stack import Stack

SEGMENT: Mapping[str, object] = {
    "id": "seg_inactive_7d",
    "name": "Inactive for a week",
    "rules": {
        "operator": "AND",
        "conditions": [{"field": "last_seen_at", "op": "not_within", "value": "7d"}],
    },
}

CAMPAIGN: Mapping[str, object] = {
    "name": "win-back-7d",
    "title": "Welcome back!",
    "body": "Your streak is waiting for you.",
    "data": {"screen": "home", "promo": "winback"},
    "segment_id": SEGMENT["id"],
}


def register(stack: Stack, name: str) -> NewProject:
    """Make a project whose credentials are the simulator's account. Raises ApiRefused."""
    with ApiClient(stack.api_url, stack.secrets.operator_key) as operator:
        project = operator.create_project(name)
    with ApiClient(stack.api_url, project.api_key) as api:
        api.put_credentials(stack.account)
    return project


def import_seed(api: ApiClient, seed: Seed, on_user: Callable[[], None]) -> None:
    """Upload everyone in one stream; `on_user` is called for each as it goes out.

    Raises ApiRefused, and StackProblem where a line was left out.
    """
    report = api.import_users(_lines(seed, on_user))
    if (report.users, report.tokens, report.failed) != (seed.users, seed.tokens, 0):
        raise StackProblem(
            f"The import took {report.users:,} users and {report.tokens:,} devices where "
            f"{seed.users:,} and {seed.tokens:,} were sent. First errors: {report.errors[:3]}"
        )


def _lines(seed: Seed, on_user: Callable[[], None]) -> Iterator[bytes]:
    for user in seed.people():
        on_user()
        yield user.line()
