"""The requests of one send(), and what becomes known of them, in groups."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self

import structlog

from fanfare.models import ErrorCode, Outcome, Target, Verdict
from fanfare.providers import Answered
from fanfare.providers.exchange import Exchange, OnResult, Result
from fanfare.providers.http2 import Http2Pool

# Answers are handed on at least this often while others are awaited.
GROUP_INTERVAL = timedelta(milliseconds=50)

_DEFECT = Outcome(Verdict.UNKNOWN, ErrorCode.NO_ANSWER, "internal")

_log = structlog.get_logger(__name__)

# Submits one target's request.
Submit = Callable[[Target, OnResult], Exchange]
# Tells what a result means; it runs while a connection is being read.
Read = Callable[[Result], Outcome]


class Flight:
    """Submits a request for each target on entry, gives up what is still open on exit.

        with Flight(pool, targets, submit, read) as flight:
            while group := await flight.group():
                yield group

    A message costs no task, future or timer; a group costs one of each of the last two. A defect
    at one message is that message's outcome and costs no other.
    """

    def __init__(
        self,
        pool: Http2Pool,
        targets: Sequence[Target],
        submit: Submit,
        read: Read,
        *,
        interval: timedelta = GROUP_INTERVAL,
    ) -> None:
        self._pool = pool
        self._targets = targets
        self._submit = submit
        self._read = read
        self._interval = interval.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._exchanges: list[Exchange] = []
        self._known: list[Answered] = []
        self._missing = len(targets)
        self._is_due = False
        self._due_at = 0.0
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        self._due_at = self._loop.time() + self._interval
        for target in self._targets:
            self._launch(target)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._missing:
            self._pool.give_up(self._exchanges)

    async def group(self) -> Sequence[Answered]:
        """Wait for the next group; empty when every target has been in one.

        It comes when all are known, or when something is and the interval has passed since the
        group before. Safe to cancel: what is known stays for the next call.
        """
        if self._missing:
            await self._ripen()
        group, self._known = self._known, []
        self._due_at = self._loop.time() + self._interval
        return group

    async def _ripen(self) -> None:
        self._is_due = False
        self._waiter = self._loop.create_future()
        timer = self._loop.call_at(self._due_at, self._fall_due)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _launch(self, target: Target) -> None:
        try:
            self._exchanges.append(self._submit(target, partial(self._note, target)))
        except Exception as error:  # noqa: BLE001 - a defect at one message costs no other
            _log.error("request_not_built", kind=type(error).__name__)
            self._add(target, _DEFECT)

    def _note(self, target: Target, result: Result) -> None:
        try:
            outcome = self._read(result)
        except Exception as error:  # noqa: BLE001 - a defect at one message costs no other
            _log.error("result_not_read", kind=type(error).__name__)
            outcome = _DEFECT
        self._add(target, outcome)

    def _add(self, target: Target, outcome: Outcome) -> None:
        self._known.append((target, outcome))
        self._missing -= 1
        if self._is_due or not self._missing:
            self._wake()

    def _fall_due(self) -> None:
        self._is_due = True
        if self._known:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
