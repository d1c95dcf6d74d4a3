"""What is broken when: drawn from a seed, so that the same seed breaks the same things again."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from fanfare.models import OnUnknown

# Most blows fall into the send; some before its first message, where the audience is frozen.
LAST_BLOW = 0.8
EARLY_SHARE = 0.1
# So many fall together with the one before, so that a part is missing while another comes back.
TOGETHER_SHARE = 0.25

SHORTEST_ABSENCE, LONGEST_ABSENCE = 0.3, 6.0
# Longer than the heartbeat time-out of 15 s: the others take the sleeper's batches.
SHORTEST_SLEEP, LONGEST_SLEEP = 17.0, 22.0
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 4.0
FIRST_PAUSE, LAST_PAUSE = 0.1, 0.7

# One round in so many is of the kind; the first of them is the one at that place.
SKIP_EVERY, SKIP_AT = 3, 2
PAUSE_EVERY, PAUSE_AT = 2, 1
SLEEP_EVERY, SLEEP_AT = 3, 0
CUT_EVERY, CUT_AT = 4, 1


class Part(StrEnum):
    """What is struck, by the name of its process."""

    WORKER_1 = "worker-1"
    WORKER_2 = "worker-2"
    POSTGRES = "postgres"
    TEMPORAL = "temporal"
    API = "api"


class Blow(StrEnum):
    """What is done to it. A cut resets every connection of the workers to APNs' sandbox."""

    KILL = "kill -9"
    SLEEP = "SIGSTOP"
    CUT = "cut"


_Blow: TypeAlias = tuple[Blow, Part | None, float]


@dataclass(frozen=True, slots=True)
class Incident:
    """A blow when `at` of the audience has been accepted; the part is away so long after it."""

    at: float
    blow: Blow
    part: Part | None
    away_seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """The campaign is paused when `at` of the audience has been accepted."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Round:
    """One campaign and what happens meanwhile, the first incident first."""

    number: int
    on_unknown: OnUnknown
    pause: Pause | None
    incidents: Sequence[Incident]


def draw(seed: int, kills: int, *, kills_a_round: int, only_kills: bool = False) -> Sequence[Round]:
    """So many kills in rounds of so many; the last round has what is left.

    The parts are killed equally often, give or take one. Pauses, and sleeps and cuts except where
    there are to be `only_kills`, come on top, in rounds of fixed places at moments that are drawn.
    """
    chance = random.Random(seed)
    parts = _parts(chance, kills)
    dealt = [parts[first : first + kills_a_round] for first in range(0, kills, kills_a_round)]
    rests = [[] if only_kills else _rest(chance, number) for number in range(len(dealt))]
    return [
        _round(chance, number, each, rest)
        for number, (each, rest) in enumerate(zip(dealt, rests, strict=True))
    ]


def _parts(chance: random.Random, kills: int) -> Sequence[Part]:
    deck: list[Part] = []
    while len(deck) < kills:
        deck += chance.sample(list(Part), len(Part))
    dealt = deck[:kills]
    chance.shuffle(dealt)
    return dealt


def _rest(chance: random.Random, number: int) -> Sequence[_Blow]:
    sleeps = [_sleep(chance)] if number % SLEEP_EVERY == SLEEP_AT else []
    cuts: list[_Blow] = [(Blow.CUT, None, 0.0)] if number % CUT_EVERY == CUT_AT else []
    return [*sleeps, *cuts]


def _round(
    chance: random.Random, number: int, parts: Sequence[Part], rest: Sequence[_Blow]
) -> Round:
    blows = [*(_kill(chance, part) for part in parts), *rest]
    chance.shuffle(blows)
    moments = _moments(chance, len(blows))
    return Round(
        number=number + 1,
        on_unknown=OnUnknown.SKIP if number % SKIP_EVERY == SKIP_AT else OnUnknown.RESEND,
        pause=_pause(chance) if number % PAUSE_EVERY == PAUSE_AT else None,
        incidents=[Incident(at, *blow) for at, blow in zip(moments, blows, strict=True)],
    )


def _kill(chance: random.Random, part: Part) -> _Blow:
    return Blow.KILL, part, chance.uniform(SHORTEST_ABSENCE, LONGEST_ABSENCE)


def _sleep(chance: random.Random) -> _Blow:
    part = chance.choice((Part.WORKER_1, Part.WORKER_2))
    return Blow.SLEEP, part, chance.uniform(SHORTEST_SLEEP, LONGEST_SLEEP)


def _pause(chance: random.Random) -> Pause:
    return Pause(
        chance.uniform(FIRST_PAUSE, LAST_PAUSE), chance.uniform(SHORTEST_PAUSE, LONGEST_PAUSE)
    )


def _moments(chance: random.Random, count: int) -> Iterator[float]:
    """So many shares of the audience, rising; some are the same as the one before."""
    is_early = chance.random() < EARLY_SHARE * count
    drawn = sorted(chance.uniform(0.0, LAST_BLOW) for _ in range(count))
    moment = 0.0
    for place, at in enumerate(drawn):
        is_first = place == 0
        if not (is_first and is_early) and (is_first or chance.random() >= TOGETHER_SHARE):
            moment = at
        yield moment
