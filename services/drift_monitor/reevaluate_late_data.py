"""Each tick, after windows are closed: re-evaluates closed windows that have gained rows since they were judged.

read -> decide (flywheel.drift.late_data) -> judge -> store newer verdicts, journal entry and outbox event in one transaction. Safe to
repeat: the traffic position up to which a window was judged is stored with its verdicts. The alert desk reports what is found.
Never resolves alerts.
"""

from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from flywheel.drift.incident import has_drifted
from flywheel.drift.late_data import DueWindow, JudgedRows, Reevaluation, due_windows, late_rows, reevaluation
from flywheel.ids import AdapterName, WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from services.drift_monitor.journal_verdicts import named, statuses
from services.drift_monitor.load_windows import ReferencesInForce, judged_lengths, references_in_force
from services.drift_monitor.wiring import DriftRules, MonitorParts
from services.ports.drift import ClosedWindow, Judgement

log = structlog.get_logger()

MAX_PER_TICK = 6  # one late hour can affect many windows; closing of due windows must not wait for all of them


def reevaluate_late_data(parts: MonitorParts, workload: WorkloadId, rules: DriftRules, now: datetime) -> None:
    """Re-evaluates at most MAX_PER_TICK windows, oldest first.

    A tick without late rows reads two indexes: the judgements of the last hours, and the positions at which panes changed. The signal
    is exact: each recorded row moves the workload's count by one and marks its pane with it in the same transaction, so a pane whose
    mark is not above the count that stood before the judging has no row that the judging could have missed.
    """
    look_back = rules.late_data.look_back
    kept = {one.on.window: one for one in parts.drift.judgements(workload, ended_after=now - look_back)} if look_back else {}
    if not kept:
        return
    closed = [one.on for one in kept.values()]
    changed = parts.traffic.changes(
        workload=workload,
        start=min(one.since for one in closed),
        end=max(one.end for one in closed),
        after=min(one.position for one in closed),
    )
    due = due_windows(closed, changed=changed, windows=rules.windows, policy=rules.late_data, now=now)
    in_force: dict[tuple[AdapterName | None, datetime | None], ReferencesInForce] = {}
    for one in due[:MAX_PER_TICK]:
        judgement = kept[one.judged.window]
        whose = (judgement.champion, judgement.released_at)
        if whose not in in_force:
            # The references in force now, and the champion of that time: the answers of another champion would look like drift.
            in_force[whose] = references_in_force(parts, workload, champion=whose[0], released_at=whose[1])
        _reevaluate(parts, rules, in_force[whose], judgement, one, now)


def _reevaluate(
    parts: MonitorParts, rules: DriftRules, references: ReferencesInForce, judgement: Judgement, due: DueWindow, now: datetime
) -> None:
    before = parts.drift.window(due.judged.window)
    if before is None:
        return  # the judgement's window is not in this ledger
    workload = before.workload
    traffic = parts.traffic.counts(workload)  # read before the panes, as when a window is closed
    judged = judged_lengths(parts, workload, rules, references, end=before.end, now=now)
    late = late_rows(due.judged, rows=judged.rows_of_longest)
    if not late:
        parts.drift.same_rows(due.judged, position=traffic.recorded)
        return
    change = reevaluation(before.verdicts, judged.verdicts)
    window = replace(before, reference=references.input_id, traffic=traffic, verdicts=judged.verdicts, judged_again=before.judged_again + 1)
    on = replace(due.judged, rows=judged.rows_of_longest, position=traffic.recorded, at=now, times=window.judged_again)
    late_line = _LateLine(before=before, window=window, was=judgement, on=on, references=references, change=change, late=late)
    entry = late_line.journal_entry(why=due.reason, now=now)
    if parts.drift.reevaluate(window, entry, judgement=replace(judgement, on=on, line=entry.id), reevaluation=change):
        log.info(
            "Window re-evaluated with late data", action="window_judged_again", workload=workload, window=window.id, reason=entry.reason
        )


@dataclass(frozen=True, kw_only=True)
class _LateLine:
    """A window before and after its re-evaluation."""

    before: ClosedWindow
    window: ClosedWindow
    was: Judgement
    on: JudgedRows
    references: ReferencesInForce
    change: Reevaluation
    late: int  # rows

    def journal_entry(self, *, why: str, now: datetime) -> JournalEntry:
        """Caused by the entry of the judgement that it replaces, so that each can be traced to the closing of the window."""
        said = f"{self.late} rows came late, {why}: {self.change.reason}"
        if self.references.left_out:
            said += f"; pinned on other bins and learned anew: {', '.join(self.references.left_out)}"
        window = self.window
        return JournalEntry(
            at=now,
            workload=window.workload,
            kind=JournalKind.WINDOW,
            subject=window.id,
            state="judged_again",
            reason=said,
            caused_by=self.was.line,
            evidence={
                "start": window.start.isoformat(),
                "end": window.end.isoformat(),
                "times": window.judged_again,
                "late_rows": self.late,
                "rows_of_the_longest": {"before": self.was.on.rows, "now": self.on.rows},
                "statuses": statuses(window.verdicts),
                "drifted": named([verdict for verdict in window.verdicts if has_drifted(verdict)]),
                "found": named(self.change.found),
                "withdrawn": named(self.change.withdrawn),
                "input_reference": window.reference,
                "input_reference_before": self.before.reference,
                "output_reference": self.references.output_id,
            },
        )
