"""The four places where a flow that stands is told: health, metric, journal, and `flywheel doctor`. For tests that hold a flow up."""

import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from flywheel.journal import JournalKind
from services.cli import doctor
from services.cli.up.wiring import readyz
from services.process.health import serve_health
from services.process.process_names import metrics_port
from services.process.progress import FlowMark, FlowWatch
from services.settings import Settings
from services.settings.sections import Http
from services.stores.ledger.journal import LedgerJournal
from tests.opened import open_ledger
from tests.ports import free_metrics_port

DEADLINE_SECONDS = 120.0
HURRIED_SECONDS = 0.1


def journalled(settings: Settings, flow: str) -> list[str]:
    """The states that the journal names, oldest first."""
    return [line.state for line in LedgerJournal(open_ledger(settings)).entries(kind=JournalKind.FLOW, subject=flow)]


def told(settings: Settings, process: str, flow: str) -> dict[str, bool]:
    """Where it is told now that the flow stands."""
    address = f"http://{settings.http.host}:{metrics_port(settings, process)}"
    health = readyz(address) or {}
    with urllib.request.urlopen(f"{address}/metrics") as answer:
        metrics = answer.read().decode()
    line = f'flywheel_flow_stands{{flow="{flow}",process="{process}"}} 1.0'
    diagnoses = [one.sentence for one in doctor.examine_flows(settings)]
    return {
        "health": flow in health.get("standing", {}),
        "metric": line in metrics,
        "journal": journalled(settings, flow)[-1:] == ["stands"],
        "doctor": any(sentence.startswith(f"{flow} ({process}) stands: ") for sentence in diagnoses),
    }


def until(holds: Callable[[], bool], *, what: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


class Watched:
    """The flows of one process, with health, metrics and journal as it has them, and the pace of a test."""

    def __init__(self, settings: Settings, process: str, marks: Sequence[FlowMark]) -> None:
        for mark in marks:
            mark.flow = replace(mark.flow, pace_seconds=HURRIED_SECONDS)
        self.settings, self.process = settings, process
        self.ended = 0
        self.watch = FlowWatch(process, marks, journal=lambda: LedgerJournal(open_ledger(settings)), end=self._end)

    def _end(self) -> None:
        self.ended += 1

    def is_told_to_stand(self, flow: str) -> None:
        self._until(flow, all)

    def is_told_to_move(self, flow: str) -> None:
        self._until(flow, lambda places: not any(places))

    def _until(self, flow: str, wanted: Callable[[object], bool]) -> None:
        def looked() -> bool:
            self.watch.look()
            return wanted(told(self.settings, self.process, flow).values())

        until(looked, what=lambda: told(self.settings, self.process, flow))


@contextmanager
def watched(folder: Path, process: str, *marks: FlowMark) -> Iterator[Watched]:
    settings = Settings(data_dir=folder / "var", http=Http(metrics_port=free_metrics_port()))
    found = Watched(settings, process, marks)
    health = serve_health(settings, process, ready=lambda: None, watch=found.watch)
    yield found
    health.close()
