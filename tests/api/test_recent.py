"""What is found once for all who ask at a time."""

import asyncio
from itertools import count

import pytest

from api import recent
from api.recent import Recent


async def test_who_asks_at_a_time_is_told_the_same() -> None:
    kept, numbers = Recent(), count()

    async def find() -> int:
        await asyncio.sleep(0)
        return next(numbers)

    told = await asyncio.gather(*(kept.get(find) for _ in range(50)))

    assert told == [0] * 50


async def test_it_is_found_anew_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "KEEP_SECONDS", 0.0)
    kept, numbers = Recent(), count()

    async def find() -> int:
        return next(numbers)

    assert [await kept.get(find), await kept.get(find)] == [0, 1]


async def test_who_could_not_find_it_keeps_nobody_from_it() -> None:
    kept = Recent()

    async def fail() -> int:
        raise RuntimeError("no")

    async def find() -> int:
        return 1

    with pytest.raises(RuntimeError):
        await kept.get(fail)

    assert await kept.get(find) == 1
