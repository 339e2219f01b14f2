"""Each tick: applies the newly judged windows to the alerts.

read -> decide (flywheel.alerts) -> store with journal line and outbox event. Safe to repeat: an alert's id derives from the window
that opened it. Between two ticks in which nothing was judged and no alert was saved, only two numbers are read.
"""

from collections.abc import Sequence
from datetime import datetime

import structlog

from flywheel.alerts.alert import Alert, AlertState
from flywheel.alerts.lifecycle import AlertTransition, Move, advance
from flywheel.alerts.window_finding import WindowFinding, WindowVerdicts, finding_of
from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from services.alert_desk.wiring import AlertDeskParts, AlertRules
from services.ports.drift import ClosedWindow, LateFinding

log = structlog.get_logger()

LOOK_BACK = 50  # windows and late findings read after a start; their content is in the alert already, or is applied now


class AlertStates:
    """Advances alerts. Keeps what it has read only to read less: a restart reads it again and changes nothing."""

    def __init__(self, parts: AlertDeskParts) -> None:
        self._parts = parts
        self._last: dict[WorkloadId, WindowFinding] = {}
        self._read_to: dict[WorkloadId, int] = {}  # the number of the window that was closed last of those read
        self._late_until: dict[WorkloadId, int] = {}
        self._alerts: dict[WorkloadId, Alert | None] = {}  # the newest of each workload, as it was last read
        self._saves = self._judgements = -1  # of the ledger, as they were last read
        self._to_read: set[WorkloadId] = set()  # workloads with judgements that were not read yet

    def tick(self, now: datetime) -> None:
        self._look_for_news()
        for workload, rules in self._parts.workloads.items():
            if workload in self._to_read and self._read(workload, rules, now):
                self._to_read.discard(workload)
            self._take_in(workload, self._last.get(workload), rules, now)  # transitions that depend on time alone

    def _look_for_news(self) -> None:
        saves, judgements = self._parts.alerts.alert_saves(), self._parts.drift.judgement_count()
        if saves != self._saves:
            self._alerts.clear()
        if judgements != self._judgements:
            self._to_read = set(self._parts.workloads)
        self._saves, self._judgements = saves, judgements

    def _read(self, workload: WorkloadId, rules: AlertRules, now: datetime) -> bool:
        """In order of time, so that the first window that an alert names is the one in which it began.

        False when a person changed the alert at the same moment: the next tick reads what is stored now.
        """
        late = self._parts.drift.late_findings(workload, after=self._late_until.get(workload, 0), limit=LOOK_BACK)
        unread = self._unread(workload, now)
        just_closed = workload in self._read_to  # at a start all are unread
        news: list[Sequence[ClosedWindow] | LateFinding] = [*unread, *late]
        for one in sorted(news, key=lambda one: one.end if isinstance(one, LateFinding) else one[0].end):
            if isinstance(one, LateFinding):
                finding = _late_finding(workload, one, rules)
            else:
                finding = _finding(one, rules, self._alert(workload), just_closed=just_closed)
            if not self._take_in(workload, finding, rules, now):
                return False
            if not finding.late:
                self._last[workload] = finding
        if unread:
            self._read_to[workload] = max(window.number for windows in unread for window in windows)
        if late:
            self._late_until[workload] = late[-1].seq
        return True

    def _unread(self, workload: WorkloadId, now: datetime) -> Sequence[Sequence[ClosedWindow]]:
        """Oldest first; windows of several lengths that ended at one moment are read as one, the shortest first.

        Read in the order of closing: the times of windows may lie in the future, where a clock ran ahead.
        """
        windows = self._parts.drift.windows(workload, until=now, after=self._read_to.get(workload, 0), limit=LOOK_BACK)
        ends = sorted({window.end for window in windows})
        return [sorted((w for w in windows if w.end == end), key=lambda window: window.end - window.start) for end in ends]

    def _alert(self, workload: WorkloadId) -> Alert | None:
        if workload not in self._alerts:
            self._alerts[workload] = next(iter(self._parts.alerts.alerts(workload=workload, limit=1)), None)
        return self._alerts[workload]

    def _take_in(self, workload: WorkloadId, finding: WindowFinding | None, rules: AlertRules, now: datetime) -> bool:
        """Advances the alert until no transition applies. False when another writer saved the alert since it was read."""
        while True:
            step = advance(alert=self._alert(workload), finding=finding, policy=rules.policy, now=now)
            if step.move is Move.NONE or step.alert is None:
                return True
            saved = self._parts.alerts.save_alert(step.alert, _journal_line(step.alert, step, finding, now))
            if saved is None:
                del self._alerts[workload]
                return False
            self._alerts[workload] = saved
            log.info("Alert moved", action=f"alert_{step.move}", workload=workload, alert=saved.id, reason=step.reason)


def _finding(windows: Sequence[ClosedWindow], rules: AlertRules, alert: Alert | None, *, just_closed: bool) -> WindowFinding:
    """The finding of these windows. While an alert is open, its series must fall below the hysteresis band before it may end."""
    is_open = alert is not None and alert.state is not AlertState.RESOLVED
    judged = WindowVerdicts(
        workload=windows[0].workload,
        window=windows[0].id,
        at=windows[0].end,
        verdicts=[verdict for window in windows for verdict in window.verdicts],
        reevaluated=any(window.judged_again for window in windows),
        just_closed=just_closed,
    )
    return finding_of(judged, protected=rules.protected, drifted_before=alert.seen.drifted if alert is not None and is_open else ())


def _late_finding(workload: WorkloadId, found: LateFinding, rules: AlertRules) -> WindowFinding:
    """The finding of series that drifted only with late rows; others were reported when the window closed."""
    judged = WindowVerdicts(workload=workload, window=found.window, at=found.end, verdicts=found.found, late=found.times)
    return finding_of(judged, protected=rules.protected)


def _journal_line(alert: Alert, step: AlertTransition, finding: WindowFinding | None, now: datetime) -> JournalEntry:
    return JournalEntry(
        at=now,
        workload=alert.workload,
        kind=JournalKind.ALERT,
        subject=alert.id,
        state=alert.state.value,
        reason=step.reason,
        caused_by=finding.window if finding is not None and finding.late else alert.seen.newest,
        evidence={"move": step.move.value, "severity": alert.severity.name.lower(), "drifted": alert.seen.drifted_count},
    )
