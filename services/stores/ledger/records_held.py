"""What keeps old records in place: open alerts, references in force, releases and training runs under way.

In: a workload. Out: holds, each with a reason that a person reads. Snapshots, cases, corrections and adapters hold nothing: each has a
copy of what it needs, and none of them is deleted.
"""

from datetime import datetime, timedelta

from sqlalchemy import Engine

from flywheel.drift.reference import in_force
from flywheel.ids import WorkloadId
from flywheel.journal import JournalKind
from flywheel.retention import Hold, RecordKind
from flywheel.retraining.training_run import RunState
from flywheel.rollout.next_action import reads_sessions
from flywheel.rollout.release import Release, ReleaseState
from services.stores.ledger.alerts import LedgerAlerts
from services.stores.ledger.drift import LedgerDrift
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.releases import LedgerReleases
from services.stores.ledger.runs import LedgerRuns

BEFORE_AN_ALERT = timedelta(days=1)
"""The longest window that opens an alert reaches back so far with the default settings."""
OF_TRAFFIC = frozenset({RecordKind.ROWS, RecordKind.CONTENTS, RecordKind.KEYS, RecordKind.PANES})
OF_ALERTS = OF_TRAFFIC | {RecordKind.EVIDENCE, RecordKind.REPORTS}


class RecordsHeld:
    """Read anew at each call. Nothing is written, so no topic is named."""

    def __init__(self, engine: Engine) -> None:
        self._alerts, self._drift = LedgerAlerts(engine, topic=""), LedgerDrift(engine, topic="")
        self._releases, self._runs, self._journal = LedgerReleases(engine, topic=""), LedgerRuns(engine), LedgerJournal(engine)

    def holds(self, workload: WorkloadId, *, sample_rows: int) -> list[Hold]:
        """``sample_rows``: as many rows of each hour of a reference stay, because so many of all of it are compared with windows."""
        return [
            *self._of_alerts(workload),
            *self._of_references(workload, sample_rows),
            *self._of_releases(workload),
            *self._of_runs(workload),
        ]

    def _of_alerts(self, workload: WorkloadId) -> list[Hold]:
        found = []
        for alert in self._alerts.alerts(workload=workload, open_only=True):
            window = self._drift.window(alert.seen.first)
            began = min(alert.started_at, window.start) if window is not None else alert.started_at
            reason = f"alert {alert.id} is {alert.state.value}"
            found.append(Hold(kinds=OF_ALERTS, start=began - BEFORE_AN_ALERT, end=None, reason=reason))
        return found

    def _of_references(self, workload: WorkloadId, sample_rows: int) -> list[Hold]:
        route = self._releases.route(workload)
        both = in_force(self._drift.references(workload), champion=route.champion if route is not None else None)
        held = {reference.id: reference for reference in both if reference is not None}.values() if sample_rows else ()
        kinds = frozenset({RecordKind.ROWS})
        return [
            Hold(kinds=kinds, start=one.start, end=one.end, reason=f"reference {one.id} is in force", sample=sample_rows) for one in held
        ]

    def _of_releases(self, workload: WorkloadId) -> list[Hold]:
        """Users meet the adapter from its shadow on: what a rollback cost them is counted from there. Before, its gate is asked once."""
        route, found = self._releases.route(workload), []
        for release in self._releases.releases(workload, open_only=True):
            if release.state is not ReleaseState.LIVE or (route is not None and reads_sessions(release, route)):
                watched = release.state in (ReleaseState.SHADOW, ReleaseState.CANARY, ReleaseState.LIVE)
                kinds = OF_TRAFFIC if watched else frozenset({RecordKind.WORK})
                reason = f"release {release.id} of {release.adapter} is {release.state.value}"
                found.append(Hold(kinds=kinds, start=self._began(release), end=None, reason=reason))
        return found

    def _began(self, release: Release) -> datetime:
        lines = self._journal.entries(kind=JournalKind.RELEASE, subject=release.id)
        return min((release.since, *(line.at for line in lines)))

    def _of_runs(self, workload: WorkloadId) -> list[Hold]:
        open_runs = [run for run in self._runs.runs(workload) if run.state in (RunState.QUEUED, RunState.TRAINING)]
        kinds = frozenset({RecordKind.WORK})
        return [Hold(kinds=kinds, start=run.requested_at, end=None, reason=f"run {run.id} is {run.state.value}") for run in open_runs]
