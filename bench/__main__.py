"""Every benchmark in turn, and a summary: `python -m bench`. Each also runs alone.

a. bench.transport: what a message costs the sender, against aioapns and firebase-admin.
b. bench.pipeline: a campaign of 200,000 through everything.
c. The same with 1,000,000.
d. bench.workers: one worker against two, 50 ms away from the provider.
e. bench.api: how quickly the API answers while a campaign is sent.
f. bench.segments: previews, refresh and freezing over a million users.
g. bench.rates: whether a campaign's rate holds over two workers, and what it costs.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bench import api, pipeline, rates, records, segments, transport, workers
from bench.records import Line

BENCHMARKS: Mapping[str, Callable[[], Sequence[Line]]] = {
    "a. What a message costs the sender": partial(transport.run, 3),
    "b. A campaign of 200,000 through everything": partial(pipeline.run, pipeline.Load()),
    "c. A campaign of 1,000,000": partial(pipeline.run, pipeline.Load(tokens=1_000_000)),
    "d. One worker against two, 50 ms away": partial(workers.run, workers.Load()),
    "e. The API while 200,000 are sent": partial(api.run, 200_000),
    "f. Segments over 1,000,000 users": partial(segments.run, plans=True),
    "g. A rate over two workers": partial(rates.run, rates.Load()),
}


def main() -> None:
    """Run all, which takes some minutes, and show what came out once more, together."""
    results = {}
    for title, run in BENCHMARKS.items():
        print(f"\n{title} ...", flush=True)
        results[title] = run()
    print("\nSummary")
    for title, lines in results.items():
        print(records.table(title, lines))
    print(f"\nAll figures are in {records.RESULTS}")


if __name__ == "__main__":
    main()
