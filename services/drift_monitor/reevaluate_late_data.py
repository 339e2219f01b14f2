"""Each tick, after the closing: closed windows whose rows have grown since they were judged are judged again.

read -> decide (flywheel.drift.late_data) -> judge -> store newer verdicts, journal line and outbox event in one transaction. Safe to
repeat: up to which position of the record a window was judged is stored with its verdicts. What is found is reported by the alert desk.
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
from services.drift_monitor.wiring import MonitorParts, WatchRules
from services.ports.drift import ClosedWindow, Judgement

log = structlog.get_logger()

AT_MOST_AGAIN = 6  # a tick: one late hour lies in as many windows as the longest has hours, and windows that are due must not wait for all


def reevaluate_late_data(parts: MonitorParts, workload: WorkloadId, rules: WatchRules, now: datetime) -> None:
    """Oldest first.

    A tick without late rows reads two indexes: the judgements of the last hours, and the positions at which panes changed. The signal
    is exact: each recorded row moves the workload's count by one and marks its pane with it in the same transaction, so a pane whose
    mark is not above the count that stood before the judging has no row that the judging could have missed.
    """
    look_back = rules.late_data.look_back
    kept = {one.on.window: one for one in parts.watch.judgements(workload, ended_after=now - look_back)} if look_back else {}
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
    for one in due[:AT_MOST_AGAIN]:
        judgement = kept[one.judged.window]
        whose = (judgement.champion, judgement.released_at)
        if whose not in in_force:
            # Of the references those in force now; of the champions the one that answered then: another's answers would look like drift.
            in_force[whose] = references_in_force(parts, workload, champion=whose[0], released_at=whose[1])
        _judge_again(parts, rules, in_force[whose], judgement, one, now)


def _judge_again(
    parts: MonitorParts, rules: WatchRules, references: ReferencesInForce, judgement: Judgement, due: DueWindow, now: datetime
) -> None:
    before = parts.watch.window(due.judged.window)
    if before is None:
        return  # not the ledger that the judgement is of: nothing there to judge again
    workload = before.workload
    traffic = parts.traffic.counts(workload)  # before the panes, as at the closing
    judged = judged_lengths(parts, workload, rules, references, end=before.end, now=now)
    late = late_rows(due.judged, rows=judged.rows_of_longest)
    if not late:
        parts.watch.same_rows(due.judged, position=traffic.recorded)
        return
    change = reevaluation(before.verdicts, judged.verdicts)
    window = replace(before, reference=references.input_id, traffic=traffic, verdicts=judged.verdicts, judged_again=before.judged_again + 1)
    on = replace(due.judged, rows=judged.rows_of_longest, position=traffic.recorded, at=now, times=window.judged_again)
    late_line = _LateLine(before=before, window=window, was=judgement, on=on, references=references, change=change, late=late)
    entry = late_line.journal_entry(why=due.reason, now=now)
    if parts.watch.judge_again(window, entry, judgement=replace(judgement, on=on, line=entry.id), retest=change):
        log.info("Window judged again", action="window_judged_again", workload=workload, window=window.id, reason=entry.reason)


@dataclass(frozen=True, kw_only=True)
class _LateLine:
    """A window before and after it was judged again."""

    before: ClosedWindow
    window: ClosedWindow
    was: Judgement
    on: JudgedRows
    references: ReferencesInForce
    change: Reevaluation
    late: int  # rows

    def journal_entry(self, *, why: str, now: datetime) -> JournalEntry:
        """Caused by the line of the judgement that it replaces, so that each can be followed back to the closing."""
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
