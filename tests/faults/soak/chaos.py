"""Breaks the parts of a stack at their moments, and starts each again when its time has come."""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from fanfare.dev import postgres
from fanfare.dev.processes import ChildProcess, ProcessDied, listens
from fanfare.dev.stack import Stack, answers
from tests.faults.soak.plan import Blow, Incident, Part

SECONDS_BETWEEN_LOOKS = 0.05
READY_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Absence:
    """What was struck, how, and for how long it was not there; a cut takes no time."""

    part: Part | None
    blow: Blow
    seconds: float


@dataclass(frozen=True, slots=True)
class _Away:
    incident: Incident
    since: float

    @property
    def due_at(self) -> float:
        return self.since + self.incident.away_seconds


@dataclass(slots=True)
class Chaos:
    """What is done to one stack, by one thread alone.

    `cut` resets the connections to APNs' sandbox. `say` gets a line for each blow as it falls;
    `look` is called after each blow and each return while PostgreSQL is there.
    """

    stack: Stack
    cut: Callable[[], None]
    say: Callable[[str], None]
    absences: list[Absence] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _away: dict[Part, _Away] = field(default_factory=dict)

    def run(
        self,
        incidents: Sequence[Incident],
        progress: Callable[[], float],
        look: Callable[[], None],
    ) -> None:
        """Let all blows fall, and return when everything struck is back.

        `progress` is the share of the audience that was accepted. A part that is away still when
        its next blow is due is struck once it is back.
        """
        pending = deque(incidents)
        while pending or self._away:
            if pending and self._is_due(pending[0], progress()):
                self._strike(pending.popleft())
                self._look(look)
            if self._bring_back_due():
                self._look(look)
            self._start_the_fallen()
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def watch_until(self, is_over: Callable[[], bool]) -> None:
        """Return when it is over; nothing is struck meanwhile, and nothing may fall."""
        while not is_over():
            self._start_the_fallen()
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def heal(self) -> None:
        """Wake who sleeps: only then can they be asked to end."""
        for away in self._away.values():
            if away.incident.blow is Blow.SLEEP:
                with suppress(ProcessLookupError):
                    self._signal(away.incident, signal.SIGCONT)

    def _is_due(self, incident: Incident, progress: float) -> bool:
        return incident.part not in self._away and progress >= incident.at

    def _strike(self, incident: Incident) -> None:
        match incident.blow:
            case Blow.KILL:
                self._process(incident).kill()
            case Blow.SLEEP:
                self._signal(incident, signal.SIGSTOP)
            case Blow.CUT:
                self.cut()
        if incident.part is None:
            self.absences.append(Absence(None, incident.blow, 0.0))
        else:
            self._away[incident.part] = _Away(incident, time.monotonic())
        self._tell(incident)

    def _tell(self, incident: Incident) -> None:
        line = f"{incident.blow} {incident.part or 'connections to the sandbox'}".ljust(22)
        back = f", back in {incident.away_seconds:.1f} s" if incident.part else ""
        self.say(f"{line} at {incident.at:.0%}{back}")

    def _look(self, look: Callable[[], None]) -> None:
        if Part.POSTGRES not in self._away:
            look()

    def _bring_back_due(self) -> bool:
        now = time.monotonic()
        due = [away for away in self._away.values() if now >= away.due_at]
        for away in due:
            self._bring_back(away.incident)
            absence = time.monotonic() - away.since
            part = away.incident.part
            assert part is not None
            self.absences.append(Absence(part, away.incident.blow, absence))
            del self._away[part]
        return bool(due)

    def _bring_back(self, incident: Incident) -> None:
        if incident.blow is Blow.SLEEP:
            self._signal(incident, signal.SIGCONT)
            return
        part = self._process(incident)
        part.start()
        match incident.part:
            case Part.POSTGRES:
                self._wait_for(part, self._postgres_accepts)
            case Part.TEMPORAL:
                self._wait_for(part, partial(listens, self.stack.ports.temporal))
            case Part.API:
                self._wait_for(part, partial(answers, f"{self.stack.api_url}/healthz"))
            case _:
                # Whether a worker gets ready depends on the others: the campaign tells.
                pass

    def _wait_for(self, part: ChildProcess, is_ready: Callable[[], bool]) -> None:
        """Return when it is ready; one that ends at its start is started again, as by systemd.

        PostgreSQL does while the processes of the one before it still hold its memory.
        """
        limit = time.monotonic() + READY_SECONDS
        while not is_ready():
            try:
                part.check()
            except ProcessDied:
                if time.monotonic() > limit:
                    raise
                part.start()
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _postgres_accepts(self) -> bool:
        password = self.stack.secrets.database_password
        return postgres.accepts(self.stack.ports.postgres, password=password)

    def _start_the_fallen(self) -> None:
        """What ended without a blow is a fault, and is started again as by systemd."""
        for part in self.stack.parts:
            if part.name in self._away:
                continue
            try:
                part.check()
            except ProcessDied as died:
                self.faults.append(str(died))
                self.say(f"{part.name} ended by itself and is started again")
                part.start()

    def _process(self, incident: Incident) -> ChildProcess:
        return next(part for part in self.stack.parts if part.name == incident.part)

    def _signal(self, incident: Incident, number: signal.Signals) -> None:
        pid = self._process(incident).pid
        assert pid is not None
        os.kill(pid, number)
