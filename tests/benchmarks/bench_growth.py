"""Whether looks get slower with what is recorded: each reading route of the api and steps of the processes, at three sizes of the data.

A look is timed by the CPU time of this process, the median of several. The smallest size counts as one; asked is at most 1.5 at the
largest. Builds of data sets and reports may grow with what they read and are not looks.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median

from fastapi.testclient import TestClient

from flywheel.corrections.correction import CorrectionState, qualified_id
from flywheel.ids import EventId, RequestId, WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from flywheel.traffic.features import columns_of
from services.api.app import build_app
from services.api.wiring import api_parts
from services.ports.traffic import RecordedInference, RecordingBatch
from services.retrain_scheduler.consider_retraining import consider_retraining
from services.retrain_scheduler.wiring import scheduler_parts
from tests.benchmarks.figures import Figure, at_most, report, soak
from tests.fakes.event_publisher import FakeEventPublisher
from tests.learning import kept
from tests.opened import learn_ledger, open_ledger, open_traffic, traffic_store
from tests.services.api.conftest import NOW, Api, MailRedactor, settings_in
from tests.services.api.one_of_everything import EXAMPLES, ask, seed
from tests.traffic_events import inference

WORKLOAD = WorkloadId("tool-router")
SIZES = ((10_000, 1_000), (100_000, 10_000), (1_000_000, 100_000)) if soak() else ((4_000, 100), (10_000, 500), (40_000, 2_000))
"""Recorded exchanges, and corrections."""
BATCH, LOOKS, GOAL = 500, 15, 1.5
SESSION_REQUESTS = 5
BUILT = frozenset({"GET /v1/datasets/{snapshot_id}"})  # reads a file that was built: it may grow with what it holds
LEAST_MILLISECONDS = 1.0
"""Below it a look costs nothing, whatever its ratio."""


@dataclass
class Grown:
    """One daemon's data, and how much is in it."""

    api: Api
    exchanges: int = 0
    corrections: int = 0

    def grow(self, exchanges: int, corrections: int) -> None:
        """Adds until there are so many; one exchange a second up to now, so the newest hour is always as full."""
        store, ledger = traffic_store(self.api.settings), learn_ledger(self.api.settings)
        for start in range(self.exchanges, exchanges, BATCH):
            rows = [_row(number) for number in range(start, min(start + BATCH, exchanges))]
            store.record(RecordingBatch(advances=[], rows=rows, recorded_at=NOW))
        for number in range(self.corrections, corrections):
            name = f"grown-{number}"
            one = kept(name, f"question {number * 7919}", entity=f"e{number}", held_out=True, after=timedelta(seconds=number))
            mine = replace(one.joined.correction, id=qualified_id(WORKLOAD, "support-desk", name), workload=WORKLOAD)
            state = CorrectionState.ACCEPTED if number % 2 else CorrectionState.KNOWLEDGE_GAP
            told = JournalEntry(at=NOW, workload=WORKLOAD, kind=JournalKind.CORRECTION, subject=mine.id, state=state.value, reason="grown")
            ledger.keep(replace(one, state=state, joined=replace(one.joined, correction=mine)), None, told)
        self.exchanges, self.corrections = exchanges, corrections


def _row(number: int) -> RecordedInference:
    """Number 0 is the newest: what is added lies before what is there."""
    one = replace(
        inference(number, workload=WORKLOAD, session=f"session-{number // SESSION_REQUESTS}"),
        event_id=EventId(f"grown-{number}"),
        request_id=RequestId(f"grown-{number}"),
        occurred_at=NOW - timedelta(seconds=number),
    )
    return RecordedInference(inference=one, features=columns_of(one, valid_format=None))


def looks(grown: Grown) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each reading route, and steps that processes take again and again."""
    api = grown.api
    for name in EXAMPLES:
        if name.startswith("GET ") and name not in BUILT:
            yield name, partial(_asked, api, name)
    yield "GET /v1/exchanges of a grown one", lambda: api.ask("GET", "/v1/exchanges/grown-7")
    store, settings = traffic_store(api.settings), api.settings
    parts = scheduler_parts(settings)
    workload = parts.workloads[WORKLOAD]
    yield "retraining is considered", lambda: consider_retraining(workload=workload, parts=parts, now=NOW)
    yield "a window of an hour is read", lambda: store.window(workload=WORKLOAD, start=NOW - timedelta(hours=1), end=NOW)
    yield "a canary's sessions since it began", lambda: store.outcomes(workload=WORKLOAD, since=NOW - timedelta(days=365))
    yield "100 ids are looked for", lambda: store.recorded([EventId(f"grown-{number * 7}") for number in range(100)])
    again = [_row(number) for number in range(100)]
    yield "100 exchanges come again", lambda: store.record(RecordingBatch(advances=[], rows=again, recorded_at=NOW))


def _asked(api: Api, name: str) -> object:
    answer = ask(api, name, token="ada")
    assert answer.status_code in (200, 403), (name, answer.status_code, answer.text)
    return answer


def milliseconds(look: Callable[[], object]) -> float:
    """CPU time of this process, the median of several looks after one that warms it up."""
    look()
    taken = []
    for _ in range(LOOKS):
        began = time.process_time()
        look()
        taken.append(time.process_time() - began)
    return median(taken) * 1e3


def measured(folder: Path) -> Mapping[str, list[float]]:
    """Milliseconds of each look, by size."""
    settings = settings_in(folder)
    open_ledger(settings)
    open_traffic(settings)
    parts = replace(api_parts(settings), open_publisher=FakeEventPublisher, open_redactor=MailRedactor, clock=lambda: NOW)
    found: dict[str, list[float]] = {}
    with TestClient(build_app(parts, ready=lambda: None), raise_server_exceptions=False) as http:
        api = Api(settings=settings, parts=parts, http=http, publisher=FakeEventPublisher())
        seed(api)
        grown = Grown(api)
        for exchanges, corrections in SIZES:
            grown.grow(exchanges, corrections)
            for name, look in looks(grown):
                found.setdefault(name, []).append(milliseconds(look))
            print(f"{exchanges:,} exchanges, {corrections:,} corrections: measured", flush=True)
    return found


def main() -> int:
    """Prints and writes the table."""
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder))
    figures: list[Figure] = []
    for name, taken in sorted(found.items(), key=lambda one: -one[1][-1] / one[1][0]):
        ratio = taken[-1] / taken[0]
        beside = ", ".join(f"{one:.2f}" for one in taken) + " ms"
        if taken[-1] < LEAST_MILLISECONDS:
            figures.append(Figure(name=name, value=ratio, unit="times", peer=beside))
        else:
            figures.append(at_most(GOAL, name=name, value=ratio, unit="times", peer=beside, reason="its cost grows with what is there"))
    sizes = "; ".join(f"{exchanges:,} exchanges and {corrections:,} corrections" for exchanges, corrections in SIZES)
    report("growth", figures, seeds=[0], notes=[f"The largest size against the smallest, of: {sizes}."])
    return 0


if __name__ == "__main__":
    sys.exit(main())
