"""Drift monitor and alert desk on the real stores, with a gateway that can be cut off and send its spool later."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from flywheel.alerts.alert import Alert
from flywheel.alerts.lifecycle import AlertPolicy
from flywheel.drift.late_data import ReevaluationPolicy
from flywheel.drift.pinning import PinningPolicy
from flywheel.drift.reference import pin
from flywheel.drift.thresholds import DriftPolicy
from flywheel.drift.verdict import DriftVerdict
from flywheel.ids import BASE
from flywheel.journal import JournalEntry
from flywheel.rollout.release import Route
from flywheel.windows.pane import WindowPolicy
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.slices import SlicePolicy
from services.alert_desk.advance_alerts import AlertStates
from services.alert_desk.wiring import AlertDeskParts, AlertRules
from services.drift_monitor.judge_windows import tick
from services.drift_monitor.wiring import DriftRules, MonitorParts
from services.ports.drift import ClosedWindow
from services.ports.traffic import RecordingBatch
from services.stores.ledger.journal import LedgerJournal
from tests.databases import migrated_ledger
from tests.fakes.watching import ScriptedReports
from tests.ledgers import DriftAndAlertLedger
from tests.traffic_stores import recording_store
from tests.watching import MARIA, NOON, ROUTER, recorded

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class LateWorld:
    """An hour of traffic is 120 rows. ``at`` is hours after noon; windows of one and of two hours end with each hour."""

    def __init__(self, folder: Path, *, late_data: ReevaluationPolicy | None = None) -> None:
        self.engine: Engine = migrated_ledger(folder)
        self.watch = DriftAndAlertLedger(self.engine)
        self.traffic = recording_store(folder, shapes={ROUTER: PaneShape(pane=5 * MINUTE, slices=SlicePolicy(dimensions=("tenant",)))})
        self.route: Route | None = None
        self.rows = 0
        self.monitor = MonitorParts(
            traffic=self.traffic,
            drift=self.watch,
            alerts=self.watch,
            journal=LedgerJournal(self.engine),
            reports=ScriptedReports(),
            route=lambda _: self.route,
            workloads={
                ROUTER: DriftRules(
                    windows=WindowPolicy(pane=5 * MINUTE, window_panes=12, slide_panes=12, lateness=MINUTE, longer_panes=(24,)),
                    drift=DriftPolicy(),
                    pinning=PinningPolicy(whole_day=DAY, watch=2 * HOUR),
                    sample_rows=50,
                    late_data=late_data or ReevaluationPolicy(),
                )
            },
            reports_folder=folder / "reports",
        )
        rules = AlertRules(policy=AlertPolicy(resolve_after=3 * HOUR))
        self.desk = AlertDeskParts(drift=self.watch, alerts=self.watch, workloads={ROUTER: rules})
        self.states = AlertStates(self.desk)

    def send(self, at: float, *, hours: float = 1, every: timedelta = timedelta(seconds=30), **changed: float) -> None:
        """Rows from ``at`` on, recorded now. ``changed``: columns that are not as usual."""
        rows = []
        for number in range(int(hours * HOUR / every)):
            self.rows += 1
            usual: Mapping[str, Any] = {"prompt_chars": 100.0 + 7 * (number % 19), "answer_chars": 40.0 + number % 7, "refusal": 0.0}
            row = recorded(
                self.rows,
                at=NOON + at * HOUR + number * every,
                features={**usual, "error": 0.0, **changed},
                tenant="globex" if number % 2 else "acme",
            )
            rows.append(replace(row, topic="traffic"))
        self.traffic.record(RecordingBatch(advances=(), rows=rows, recorded_at=NOON))

    def four_good_hours(self) -> None:
        """They are the reference, and their windows are closed."""
        self.send(0, hours=4)
        counts = self.traffic.window(workload=ROUTER, start=NOON, end=NOON + 4 * HOUR)
        reference = pin(counts=counts, adapter=BASE, by=MARIA, now=NOON + 4 * HOUR, whole_day=DAY)
        self.watch.pin(
            reference, JournalEntry(at=NOON, workload=ROUTER, kind="reference", subject=reference.id, state="pinned", reason="fine")
        )
        self.look(4.2)

    def look(self, at: float) -> None:
        """The monitor's tick, then the desk's."""
        now = NOON + at * HOUR
        tick(self.monitor, now)
        self.states.tick(now)

    def desk_restarts(self) -> None:
        self.states = AlertStates(self.desk)

    def window(self, ends: int) -> ClosedWindow:
        (found,) = [window for window in self.watch.windows(ROUTER) if window.end == NOON + ends * HOUR]
        return found

    def verdict(self, ends: int, column: str, *, hours: int = 1) -> DriftVerdict:
        (found,) = [
            verdict
            for verdict in self.window(ends).verdicts
            if (verdict.slice, verdict.column, verdict.window_end - verdict.window_start) == ("all", column, hours * HOUR)
        ]
        return found

    def told(self, state: str) -> list[JournalEntry]:
        return [entry for entry in LedgerJournal(self.engine).entries(kind="window") if entry.state == state]

    def alerts(self) -> list[Alert]:
        return list(self.watch.alerts(workload=ROUTER))
