"""Each tick, after the closing: closed windows whose rows have grown since they were judged are judged again.

read -> decide (flywheel.drift.late) -> judge -> store newer verdicts, journal line and outbox event in one transaction. Safe to
repeat: up to which position of the record a window was judged is stored with its verdicts. What is found is told by the alert desk;
of nothing is it said here that it is over.
"""

from dataclasses import replace
from datetime import datetime

import structlog

from flywheel.drift.incident import Retest, has_moved
from flywheel.drift.late import Due, came_late, due_again, retested_lengths
from flywheel.ids import AdapterName, WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from services.drift_monitor.load_windows import JudgedWindows, Standing, judged_windows, standing_references
from services.drift_monitor.telling import named, statuses
from services.drift_monitor.wiring import MonitorParts, WatchRules
from services.ports.drift import ClosedWindow, Judgement

log = structlog.get_logger()

AT_MOST_AGAIN = 6  # a tick: one late hour lies in as many windows as the longest has hours, and windows that are due must not wait for all


def judge_what_came_late(parts: MonitorParts, workload: WorkloadId, rules: WatchRules, now: datetime) -> None:
    """Oldest first.

    A tick without late rows reads two indexes: the judgements of the last hours, and the positions at which panes changed. The signal
    is exact: each recorded row moves the workload's count by one and marks its pane with it in the same transaction, so a pane whose
    mark is not above the count that stood before the judging holds no row that the judging could have missed.
    """
    if not rules.retest.reach:
        return
    kept = {one.on.window: one for one in parts.watch.judgements(workload, ended_after=now - rules.retest.reach)}
    if not kept:
        return
    closed = [one.on for one in kept.values()]
    changed = parts.traffic.changes(
        workload=workload,
        start=min(one.since for one in closed),
        end=max(one.end for one in closed),
        after=min(one.position for one in closed),
    )
    due = due_again(closed, changed=changed, windows=rules.windows, policy=rules.retest, now=now)
    standings: dict[tuple[AdapterName | None, datetime | None], Standing] = {}
    for one in due[:AT_MOST_AGAIN]:
        judgement = kept[one.judged.window]
        whose = (judgement.champion, judgement.released_at)
        if whose not in standings:
            # Of the references those in force now; of the champions the one that answered then: another's answers would look like drift.
            standings[whose] = standing_references(parts, workload, champion=whose[0], released_at=whose[1])
        _judge_again(parts, workload, rules, standings[whose], judgement, one, now)


def _judge_again(
    parts: MonitorParts, workload: WorkloadId, rules: WatchRules, standing: Standing, judgement: Judgement, due: Due, now: datetime
) -> None:
    before = parts.watch.window(due.judged.window)
    if before is None:
        return  # not the ledger that the judgement is of: nothing there to judge again
    traffic = parts.traffic.counts(workload)  # before the panes, as at the closing
    judged = judged_windows(parts, workload, rules, standing, end=before.end, now=now)
    late = came_late(due.judged, rows=judged.rows)
    if not late:
        parts.watch.same_rows(due.judged, position=traffic.recorded)
        return
    retest = retested_lengths(before.verdicts, judged.verdicts)
    window = replace(
        before,
        reference=standing.inputs.id if standing.inputs else "",
        traffic=traffic,
        verdicts=judged.verdicts,
        judged_again=before.judged_again + 1,
    )
    entry = _journal_line(window, judgement, judged, standing, retest, before=before, late=late, why=due.reason, now=now)
    on = replace(due.judged, rows=judged.rows, position=traffic.recorded, at=now, times=window.judged_again)
    if parts.watch.judge_again(window, entry, judgement=replace(judgement, on=on, line=entry.id), retest=retest):
        log.info("Window judged again", action="window_judged_again", workload=workload, window=window.id, reason=entry.reason)


def _journal_line(
    window: ClosedWindow,
    judgement: Judgement,
    judged: JudgedWindows,
    standing: Standing,
    retest: Retest,
    *,
    before: ClosedWindow,
    late: int,
    why: str,
    now: datetime,
) -> JournalEntry:
    """Caused by the line of the judgement that it replaces, so that each can be followed back to the closing."""
    said = f"{late} rows came late, {why}: {retest.reason}"
    if standing.left_out:
        said += f"; pinned on other edges and learned anew: {', '.join(standing.left_out)}"
    return JournalEntry(
        at=now,
        workload=window.workload,
        kind=JournalKind.WINDOW,
        subject=window.id,
        state="judged_again",
        reason=said,
        caused_by=judgement.line,
        evidence={
            "start": window.start.isoformat(),
            "end": window.end.isoformat(),
            "times": window.judged_again,
            "late_rows": late,
            "rows_of_the_longest": {"before": judgement.on.rows, "now": judged.rows},
            "statuses": statuses(window.verdicts),
            "moved": named([verdict for verdict in window.verdicts if has_moved(verdict)]),
            "found": named(retest.found),
            "withdrawn": named(retest.withdrawn),
            "input_reference": window.reference,
            "input_reference_before": before.reference,
            "output_reference": standing.outputs.id if standing.outputs else "",
        },
    )
