"""The seed: exact totals, the same people every time, and tokens that the API and APNs take."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from api.fields import normal_token
from api.routes.imports import ImportLine
from fanfare.dev.seed import Fate, Seed, SeedToken
from fanfare.models import ProviderName

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def seed() -> Seed:
    return Seed(users=1_000, tokens=1_200, now=NOW)


def tokens_of(seed: Seed) -> list[SeedToken]:
    return [token for user in seed.people() for token in user.tokens]


@pytest.mark.parametrize(
    ("users", "tokens"), [(10_000, 12_000), (400, 500), (1, 1), (7, 3), (3, 40), (12, 12)]
)
def test_totals_are_exact(users: int, tokens: int) -> None:
    people = list(Seed(users, tokens, NOW).people())

    assert len({user.external_id for user in people}) == users
    assert len({token.token for user in people for token in user.tokens}) == tokens


def test_same_numbers_give_the_same_people(seed: Seed) -> None:
    again = Seed(users=1_000, tokens=1_200, now=NOW)

    assert list(seed.people()) == list(again.people())


def test_two_in_a_hundred_tokens_are_dead_and_one_is_throttled(seed: Seed) -> None:
    fates = Counter(token.fate for token in tokens_of(seed))

    assert fates == {Fate.DEAD: 24, Fate.THROTTLED: 12, Fate.ACCEPTED: 1_164}


def test_only_fcm_is_throttled(seed: Seed) -> None:
    throttled = {t.provider for t in tokens_of(seed) if t.fate is Fate.THROTTLED}

    assert throttled == {ProviderName.FCM}


def test_a_token_begins_as_its_fate_asks(seed: Seed) -> None:
    markers = {"dead": Fate.DEAD, "429a": Fate.THROTTLED}

    wrong = [t for t in tokens_of(seed) if markers.get(t.token[:4], Fate.ACCEPTED) is not t.fate]
    refused = [t for t in tokens_of(seed) if t.token.startswith(("bad0", "503a", "5a"))]

    assert wrong == []
    assert refused == []


def test_tokens_are_in_their_normal_form(seed: Seed) -> None:
    spelled_otherwise = [t for t in tokens_of(seed) if normal_token(t.provider, t.token) != t.token]

    assert spelled_otherwise == []


def test_every_line_is_one_that_the_import_takes(seed: Seed) -> None:
    lines = [ImportLine.model_validate(orjson.loads(user.line())) for user in seed.people()]

    assert len(lines) == 1_000


def test_some_users_have_no_device_and_some_have_two(seed: Seed) -> None:
    devices = Counter(len(user.tokens) for user in seed.people())

    assert devices == {0: 83, 1: 634, 2: 283}


def test_a_sensible_share_is_inactive(seed: Seed) -> None:
    inactive = sum(user.is_inactive(NOW) for user in seed.people())

    assert 300 < inactive < 500


def test_nobody_is_near_the_edge_of_the_segment(seed: Seed) -> None:
    edge = NOW - timedelta(days=7)
    ages = [abs(user.last_seen_at - edge) for user in seed.people() if user.last_seen_at]

    assert min(ages) > timedelta(hours=11)


def test_who_was_never_seen_is_inactive(seed: Seed) -> None:
    never_seen = [user.is_inactive(NOW) for user in seed.people() if user.last_seen_at is None]

    assert never_seen
    assert all(never_seen)
