"""Measures each rollback: how long it took and how many failures users met before it.

In: releases that were rolled back from canary or live. Out: one journal entry of kind ``rollback`` for each, a few seconds afterwards.
"""

from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

import structlog

from flywheel.clock import has_passed
from flywheel.ids import ReleaseId, WorkloadId
from flywheel.journal import JournalEntry, JournalKind, ReleaseChange, RollbackMeasurement, RouteChange
from flywheel.rollout.release import Release, ReleaseState, Route
from flywheel.rollout.rollback import MeasuredAttempt, harm_of
from services.ports.traffic import RecordedInference
from services.release_controller.wiring import ControllerParts

log = structlog.get_logger()
SETTLE = timedelta(seconds=5)  # answers given just before are not recorded yet
SETTLE_AT_MOST = timedelta(seconds=15)  # without traffic no newer row shows that recording has caught up
LOOK_BACK = timedelta(hours=1)
ROWS_AT_MOST = 200_000


@dataclass
class RollbackRecorder:
    """Measures each rollback once. Keeps what this process has observed; reads the rest from the journal."""

    seconds: dict[ReleaseId, float] = field(default_factory=dict)  # from the decision to the last gateway
    measured: set[ReleaseId] = field(default_factory=set)

    def applied_after(self, release: ReleaseId, seconds: float) -> None:
        """Records the seconds until every gateway had the route."""
        self.seconds.setdefault(release, round(seconds, 3))

    def step(self, parts: ControllerParts, *, workload: WorkloadId, route: Route, now: datetime) -> None:
        """Safe to repeat: a rollback is measured once."""
        for release in parts.releases.releases(workload):
            if release.state is not ReleaseState.ROLLED_BACK or release.id in self.measured or now - release.since > LOOK_BACK:
                continue
            if release.id not in self.seconds:
                versions = parts.gateways.applied_versions(workload)
                if versions and all(version >= route.version for version in versions.values()):
                    seconds = (now - release.since).total_seconds()  # an upper bound: the time of this check
                    self.applied_after(release.id, max(0.0, seconds))
            newest = parts.traffic.newest(workload, until=now)
            caught_up = newest is not None and newest >= release.since
            if has_passed(SETTLE if caught_up else SETTLE_AT_MOST, since=release.since, now=now):
                self._measure(parts, release, now=now)
                self.measured.add(release.id)

    def _measure(self, parts: ControllerParts, release: Release, *, now: datetime) -> None:
        history = parts.journal.entries(kind=JournalKind.RELEASE, subject=release.id)
        began = [entry.at for entry in history if entry.state in (ReleaseState.CANARY.value, ReleaseState.LIVE.value)]
        if not began or parts.journal.entries(kind=JournalKind.ROLLBACK, subject=release.id):
            return  # no user has met it, or it is measured already
        rows = parts.traffic.rows(workload=release.workload, start=began[0], end=now, limit=ROWS_AT_MOST)
        harm = harm_of((_attempt(row) for row in rows), adapter=release.adapter)
        back_to = [
            RouteChange.of(entry).champion
            for entry in parts.journal.entries(workload=release.workload, kind=JournalKind.ROUTE)
            if entry.caused_by == release.id and entry.at == release.since
        ]
        measured = RollbackMeasurement(
            adapter=release.adapter,
            to=back_to[-1] if back_to else None,
            cause=release.reason,
            by=ReleaseChange.of(history[-1]).by,
            seconds=self.seconds.get(release.id),
            failed_requests=harm.failed_requests,
            bad_answers=harm.bad_answers,
            rows=len(rows),
        )
        line = JournalEntry(
            at=now,
            workload=release.workload,
            kind=JournalKind.ROLLBACK,
            subject=release.id,
            state="measured",
            reason=release.reason,
            caused_by=release.id,
            evidence=asdict(measured),
        )
        parts.journal.append(line)
        log.info("A rollback was measured.", action="rollback_measured", release=release.id, **line.evidence)


def _attempt(row: RecordedInference) -> MeasuredAttempt:
    valid = row.features.get("valid_format")
    return MeasuredAttempt(
        request_id=row.inference.request_id,
        adapter=row.inference.adapter,
        outcome=row.inference.attempt.outcome,
        valid_format=None if valid is None else bool(valid),
    )
