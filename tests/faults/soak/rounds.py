"""One round after the other: prepare a campaign, break things while it is sent, judge it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from fanfare.dev.stack import Stack, answers
from tests.faults import acceptances
from tests.faults.oracle import Oracle
from tests.faults.soak import judgement
from tests.faults.soak.campaigns import Load, Prepared, prepare
from tests.faults.soak.chaos import Chaos
from tests.faults.soak.judgement import Verdict
from tests.faults.soak.patient import PatientClient
from tests.faults.soak.plan import Round
from tests.faults.soak.watch import Watch

READY_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Soak:
    """Rounds on one stack of two workers, which is whole before each.

    `cut` resets the workers' connections to APNs' sandbox. `say` gets a line for each blow.
    """

    stack: Stack
    load: Load
    cut: Callable[[], None]
    say: Callable[[str], None]
    verdicts: list[Verdict] = field(default_factory=list)

    def play(self, rounds: Sequence[Round]) -> Sequence[Verdict]:
        """Play all. Raises StackProblem where the stack does not come back."""
        for each in rounds:
            self.verdicts.append(self._play(each))
        return self.verdicts

    def _play(self, round_: Round) -> Verdict:
        self._wait_until_whole()
        prepared = prepare(self.stack, self.load, round_.on_unknown)
        chaos = Chaos(self.stack, self.cut, lambda line: self.say(f"round {round_.number}  {line}"))
        api = PatientClient(self.stack.api_url, prepared.key)
        watch = Watch(api, prepared.id, round_.pause, partial(self._progress, prepared))
        meanwhile = self._send(round_, prepared, chaos, watch)
        self._wait_until_whole()
        found = judgement.judge(self.stack, round_, self.load, prepared, watch, chaos.absences)
        verdict = replace(found, violations=[*found.violations, *meanwhile, *chaos.faults])
        self.say(f"round {round_.number}  {_summary(verdict)}")
        return verdict

    def _send(self, round_: Round, prepared: Prepared, chaos: Chaos, watch: Watch) -> Sequence[str]:
        """Send it under blows until it is over. Returns what did not hold on the way."""
        broken: list[str] = []
        oracle = Oracle(self.stack.database_url, self.stack.simulator_url)

        def look() -> None:
            broken.extend(oracle.violations_meanwhile(prepared.id))

        def progress() -> float:
            return 1.0 if watch.is_over() else watch.progress()

        watch.start()
        try:
            chaos.run(round_.incidents, progress, look)
            chaos.watch_until(watch.is_over)
        finally:
            watch.leave()
            chaos.heal()
        return broken

    def _progress(self, prepared: Prepared) -> float:
        accepted = acceptances.totals(self.stack.simulator_url, prepared.id)["accepted"]
        return float(accepted / prepared.size)

    def _wait_until_whole(self) -> None:
        api = self.stack.api
        api.wait_until(partial(answers, f"{self.stack.api_url}/readyz"), seconds=READY_SECONDS)
        for worker in self.stack.workers:
            worker.wait_until(partial(worker.has_logged, "worker_ready"), seconds=READY_SECONDS)


def _summary(verdict: Verdict) -> str:
    told = f"{verdict.twice} twice of {verdict.bound}, {verdict.unknown} unknown"
    broken = f", {len(verdict.violations)} violations" if verdict.violations else ""
    return f"over after {verdict.seconds:.0f} s: {told}, {verdict.lost} lost{broken}"
