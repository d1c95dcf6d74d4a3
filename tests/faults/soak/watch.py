"""An operator before the API: sends a campaign, pauses it, and looks until it is over."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from fanfare.dev.api_client import ApiRefused, Campaign
from fanfare.dev.processes import StackProblem
from tests.faults.soak.patient import PatientClient
from tests.faults.soak.plan import Pause
from tests.faults.stops import sums

SECONDS_BETWEEN_LOOKS = 0.2

# Longer than the API lets anybody wait for anything, with room for a machine that has more to do.
HANG_SECONDS = 20.0

# After so long a campaign has failed the round.
MOST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Halt:
    """A pause as it went, in epoch seconds; `bound` is how many might be accepted after it."""

    paused_at: float
    resumed_at: float
    bound: int

    def violations(self, accepted_at: Sequence[float]) -> Iterator[str]:
        """Acceptances beyond what was on the wire."""
        late = sum(self.paused_at < moment < self.resumed_at for moment in accepted_at)
        if late > self.bound:
            yield f"pause: {late} were accepted after the answer, over {self.bound}"


@dataclass(slots=True)
class Watch:
    """One campaign as seen through the API, by a thread of its own, which closes `api` at its end.

    `progress` is the share of the audience that was accepted.
    """

    api: PatientClient
    campaign_id: UUID
    pause: Pause | None
    progress: Callable[[], float]
    seen: list[Campaign] = field(default_factory=list)
    halts: list[Halt] = field(default_factory=list)
    problem: str | None = None
    sent_at: float = 0.0
    ended_at: float = 0.0
    _left: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to send and to look. `leave` ends it."""
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def is_over(self) -> bool:
        """Whether the campaign is, or nothing more can be learnt of it."""
        return self._thread is not None and not self._thread.is_alive()

    def leave(self) -> None:
        """Look no more."""
        self._left.set()

    def violations(self, accepted_at: Sequence[float]) -> Sequence[str]:
        """What does not hold of what was seen."""
        said = [] if self.problem is None else [f"API: {self.problem}"]
        if self.api.longest > HANG_SECONDS:
            said.append(f"API: a call took {self.api.longest:.1f} s")
        return [
            *said,
            *sums(self.seen),
            *(line for halt in self.halts for line in halt.violations(accepted_at)),
        ]

    def _run(self) -> None:
        try:
            with self.api:
                self.api.send_campaign(self.campaign_id)
                self.sent_at = time.time()
                self._follow()
        except StackProblem as problem:
            self.problem = str(problem)
        finally:
            self.ended_at = time.time()

    def _follow(self) -> None:
        limit = time.monotonic() + MOST_SECONDS
        while not self._look().is_over and time.monotonic() < limit and not self._left.is_set():
            if self.pause is not None and self.progress() >= self.pause.at:
                self._halt(self.pause)
                self.pause = None
            self._left.wait(SECONDS_BETWEEN_LOOKS)

    def _look(self) -> Campaign:
        self.seen.append(self.api.campaign(self.campaign_id))
        return self.seen[-1]

    def _halt(self, pause: Pause) -> None:
        try:
            answer = self.api.pause_campaign(self.campaign_id)
        except ApiRefused as refused:
            # While the API was away, the last messages may have gone out.
            if "The campaign is sent" not in str(refused):
                raise
            return
        paused_at = time.time()
        self.seen.append(answer)
        self._left.wait(pause.seconds)
        resumed_at = time.time()
        self.seen.append(self.api.resume_campaign(self.campaign_id))
        self.halts.append(Halt(paused_at, resumed_at, answer.in_flight_at_most or 0))
