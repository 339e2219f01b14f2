"""Each tick: what do the closed windows say, what state is the alert in, who must still be told?

read -> load -> decide (flywheel.alerts) -> store with journal line and outbox event -> tell. Safe to repeat: an alert's id
derives from the window that opened it, and a notice is remembered per receiver after it was taken.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from flywheel.alerts.alert import Alert, AlertState
from flywheel.alerts.facts import WindowFacts, facts_of, moved_in
from flywheel.alerts.lifecycle import Advance, Move, advance, fingerprint_of
from flywheel.alerts.notices import NotDelivered, owed
from flywheel.ids import AlertId, WorkloadId
from flywheel.journal import JournalEntry
from services.alert_desk.wiring import AlertRules, DeskParts, Receiver
from services.ports.drift import ClosedWindow, LateFinding

log = structlog.get_logger()

LOOK_BACK = 50  # windows and late findings read after a start; what they said is in the alert already, or is taken in now
FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(minutes=5)


class AlertStates:
    """Moves alerts. It remembers what it has read, only to read less: a restart reads it again and changes nothing."""

    def __init__(self, parts: DeskParts) -> None:
        self._parts = parts
        self._last: dict[WorkloadId, WindowFacts] = {}
        self._late_until: dict[WorkloadId, int] = {}

    def tick(self, now: datetime) -> None:
        for workload, rules in self._parts.workloads.items():
            self._read(workload, rules, now)
            self._take_in(workload, self._last.get(workload), rules, now)  # what follows from the time alone

    def _read(self, workload: WorkloadId, rules: AlertRules, now: datetime) -> None:
        """In the order of their time, so that the first window an alert names is the one in which it began."""
        late = self._parts.drift.late_findings(workload, after=self._late_until.get(workload, 0), limit=LOOK_BACK)
        news: list[Sequence[ClosedWindow] | LateFinding] = [*self._unread(workload), *late]
        for one in sorted(news, key=lambda one: one.end if isinstance(one, LateFinding) else one[0].end):
            facts = _late_facts(workload, one, rules) if isinstance(one, LateFinding) else _facts(one, rules, self._alert(workload))
            if not self._take_in(workload, facts, rules, now):
                return  # a person changed the alert at the same moment: the next tick sees what stands now
            if not facts.late:
                self._last[workload] = facts
        if late:
            self._late_until[workload] = late[-1].seq

    def _unread(self, workload: WorkloadId) -> Sequence[Sequence[ClosedWindow]]:
        """Oldest first; windows of several lengths that ended at one moment are read as one, the shortest first."""
        newest = self._parts.drift.windows(workload, limit=1)
        read = self._last.get(workload)
        if not newest or (read is not None and newest[0].end <= read.at):
            return []
        windows = [window for window in self._parts.drift.windows(workload, limit=LOOK_BACK) if read is None or window.end > read.at]
        ends = sorted({window.end for window in windows})
        return [sorted((w for w in windows if w.end == end), key=lambda window: window.end - window.start) for end in ends]

    def _alert(self, workload: WorkloadId) -> Alert | None:
        fingerprint = fingerprint_of(workload)
        return next((held for held in self._parts.alerts.alerts(workload=workload) if held.fingerprint == fingerprint), None)

    def _take_in(self, workload: WorkloadId, facts: WindowFacts | None, rules: AlertRules, now: datetime) -> bool:
        """Until there is no move. False when the alert changed under our hands."""
        while True:
            alert = self._alert(workload)
            step = advance(alert=alert, facts=facts, policy=rules.policy, now=now)
            if step.move is Move.NONE or step.alert is None:
                return True
            expected = None if step.move is Move.OPENED else alert
            if not self._parts.alerts.save_alert(step.alert, _journal_line(step.alert, step, facts, now), expected=expected):
                return False
            log.info("Alert moved", action=f"alert_{step.move}", workload=workload, alert=step.alert.id, reason=step.reason)


class Notices:
    """Tells receivers, again and again until each has taken it, with growing pauses; what is told first comes first."""

    def __init__(self, parts: DeskParts) -> None:
        self._parts = parts
        self._told: set[tuple[AlertId, str]] = set()
        self._pauses: dict[str, tuple[datetime, timedelta]] = {}  # receiver: not before, and how long the last pause was

    def tick(self, now: datetime) -> None:
        for workload, rules in self._parts.workloads.items():
            if not rules.receivers:
                continue
            alerts = [alert for alert in reversed(self._parts.alerts.alerts(workload=workload)) if owed(alert, now=now)]
            for receiver in rules.receivers:
                self._tell(receiver, alerts, now)

    def _tell(self, receiver: Receiver, alerts: Sequence[Alert], now: datetime) -> None:
        if receiver.name in self._pauses and now < self._pauses[receiver.name][0]:
            return
        for alert in alerts:
            for kind in owed(alert, now=now):
                remembered = f"{kind} to {receiver.name}"
                if (alert.id, remembered) in self._told:
                    continue
                if self._parts.alerts.notice_due(alert.id, kind=remembered):
                    try:
                        answer = receiver.notifier.notify(alert, kind=kind)
                    except NotDelivered as error:
                        self._pause(receiver, now)
                        log.warning("Notice not taken", action="notice_failed", alert=alert.id, kind=kind, reason=str(error))
                        return
                    self._parts.alerts.notice_sent(alert.id, kind=remembered, at=now, detail=answer)
                    log.info("Notice taken", action="notice_sent", alert=alert.id, kind=kind, answer=answer)
                self._told.add((alert.id, remembered))
        self._pauses.pop(receiver.name, None)

    def _pause(self, receiver: Receiver, now: datetime) -> None:
        last = self._pauses.get(receiver.name)
        pause = min(last[1] * 2, LONGEST_PAUSE) if last else FIRST_PAUSE
        self._pauses[receiver.name] = (now + pause, pause)


def _facts(windows: Sequence[ClosedWindow], rules: AlertRules, alert: Alert | None) -> WindowFacts:
    """What moved in an open alert must fall well under its limits before the alert may end."""
    is_open = alert is not None and alert.state is not AlertState.RESOLVED
    return facts_of(
        workload=windows[0].workload,
        window=windows[0].id,
        at=windows[0].end,
        verdicts=[verdict for window in windows for verdict in window.verdicts],
        protected=rules.protected,
        moved_before=moved_in(alert.evidence) if alert is not None and is_open else (),
        judged_again=any(window.judged_again for window in windows),
    )


def _late_facts(workload: WorkloadId, finding: LateFinding, rules: AlertRules) -> WindowFacts:
    """Of what the late rows found alone: what else moved in that window was told when it closed."""
    return facts_of(
        workload=workload, window=finding.window, at=finding.end, verdicts=finding.found, protected=rules.protected, late=finding.times
    )


def _journal_line(alert: Alert, step: Advance, facts: WindowFacts | None, now: datetime) -> JournalEntry:
    return JournalEntry(
        at=now,
        workload=alert.workload,
        kind="alert",
        subject=alert.id,
        state=alert.state.value,
        reason=step.reason,
        caused_by=facts.window if facts is not None and facts.late else str(alert.evidence.get("window", "")),
        evidence={"move": step.move.value, "severity": alert.severity.name.lower(), "moved": alert.evidence.get("moved", 0)},
    )
