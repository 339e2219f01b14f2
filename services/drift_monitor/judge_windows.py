"""Each tick: close the windows that are due, judge them, have Evidently score a sample as a cross-check, keep the verdicts.

read -> load -> decide (flywheel.drift) -> store, with journal line and outbox event in one transaction. Safe to repeat: a window's id
is its workload and its time, and one that is closed stays closed. Windows with late rows are re-evaluated in
``reevaluate_late_data``; alerts are opened by the alert desk.

A clock that ran ahead may have closed windows that lie in the future. They are told once and never count as the last one, so that closing
goes on. When their time comes and rows have come, they are re-evaluated as windows with late rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from flywheel.clock import lies_ahead
from flywheel.drift.incident import has_drifted
from flywheel.drift.late_data import JudgedRows
from flywheel.drift.reference import Reference
from flywheel.errors import CannotRun, FlywheelError
from flywheel.ids import EVERYTHING, WorkloadId, derive
from flywheel.journal import JournalEntry, JournalKind
from flywheel.traffic.column import Column
from flywheel.traffic.features import COLUMNS
from flywheel.windows.pane import closing_edge, number_of_due_windows, windows_to_close
from services.drift_monitor.journal_verdicts import named, statuses
from services.drift_monitor.load_windows import INPUTS, OUTPUTS, ReferencesInForce, judged_lengths, references_in_force
from services.drift_monitor.pin_references import pin_when_due
from services.drift_monitor.reevaluate_late_data import reevaluate_late_data
from services.drift_monitor.wiring import DriftRules, MonitorParts
from services.ports.drift import ClosedWindow, EvidentlyScore, Judgement
from services.ports.traffic import RecordedInference

log = structlog.get_logger()

AT_MOST_WINDOWS = 24  # of a backlog; older windows are skipped, and the journal says so
AT_MOST_FLAGGED = 10  # drifted slices that are cross-checked, those with the largest effect


@dataclass(frozen=True, kw_only=True)
class CrossCheck:
    """Evidently's scores, or why there are none."""

    scores: tuple[EvidentlyScore, ...] = ()
    missing: str = ""
    html: str = ""


def tick(parts: MonitorParts, now: datetime) -> None:
    """Every workload, one after the other. One that cannot be judged (a reference that cannot be read) keeps no other from its turn; what
    is wrong with it is raised when all have had theirs."""
    wrong: FlywheelError | None = None
    for workload, rules in parts.workloads.items():
        try:
            close_due_windows(parts, workload, rules, now)
            reevaluate_late_data(parts, workload, rules, now)
        except FlywheelError as error:
            log.error("Workload not judged", action="workload_not_judged", workload=workload, reason=str(error))
            wrong = wrong or error
    if wrong is not None:
        raise wrong


def close_due_windows(parts: MonitorParts, workload: WorkloadId, rules: DriftRules, now: datetime) -> None:
    """Oldest first. Of a backlog only the newest window is cross-checked, and the others say so."""
    _tell_windows_ahead(parts, workload, now=now)
    newest = parts.traffic.newest(workload, until=now)
    if newest is None:
        return
    edge = closing_edge(newest=newest, now=now, policy=rules.windows)
    # one that ends later was closed by a clock that ran ahead
    closed = parts.drift.windows(workload, until=edge - rules.windows.lateness, limit=1)
    last = closed[0].end if closed else None
    due = windows_to_close(edge, last, rules.windows, at_most=AT_MOST_WINDOWS)
    if not due:
        return
    if last is not None and (skipped := number_of_due_windows(edge, last, rules.windows) - len(due)):
        _tell_skipped(parts, workload, skipped, since=last, until=due[0][0], now=now)
    route = parts.route(workload)
    pin_when_due(parts, workload, rules, route, newest=newest, now=now)
    champion, released_at = (route.champion, route.changed_at) if route else (None, None)
    references = references_in_force(parts, workload, champion=champion, released_at=released_at)
    for start, end in due:
        _close(parts, rules, references, window=(workload, start, end), is_newest=end == due[-1][1], now=now)


def windows_due(parts: MonitorParts, *, now: datetime) -> int:
    """How many windows could be closed now and are not."""
    due = 0
    for workload, rules in parts.workloads.items():
        newest = parts.traffic.newest(workload, until=now)
        if newest is not None:
            edge = closing_edge(newest=newest, now=now, policy=rules.windows)
            closed = parts.drift.windows(workload, until=edge - rules.windows.lateness, limit=1)
            due += len(windows_to_close(edge, closed[0].end if closed else None, rules.windows, at_most=AT_MOST_WINDOWS))
    return due


def window_is_near(parts: MonitorParts, *, now: datetime, within: timedelta) -> bool:
    """True if a window with rows to compare will close within that time. The first window of all has no reference."""
    for workload, rules in parts.workloads.items():
        newest = parts.traffic.newest(workload, until=now)
        closed = parts.drift.windows(workload, until=now, limit=1)
        if newest is None or not closed or newest <= closed[0].end:
            continue
        edge = closing_edge(newest=newest + within, now=now + within, policy=rules.windows)
        if windows_to_close(edge, closed[0].end, rules.windows, at_most=1):
            return True
    return False


def _tell_windows_ahead(parts: MonitorParts, workload: WorkloadId, *, now: datetime) -> None:
    closed = parts.drift.windows(workload, limit=1)
    if closed and lies_ahead(closed[0].end, now=now):
        _tell_ahead(parts, closed[0], now=now)
    else:
        parts.ahead.pop(workload, None)


def _tell_ahead(parts: MonitorParts, window: ClosedWindow, *, now: datetime) -> None:
    """Once, in the journal and the log; in health as long as it is so."""
    if window.workload in parts.ahead:
        return
    told = f"the newest closed window of {window.workload} ends in the future, {window.end.isoformat()}: the clock ran ahead, or is behind"
    parts.ahead[window.workload] = told
    lines = parts.journal.entries(workload=window.workload, kind=JournalKind.WINDOW, subject=window.id, limit=1)
    if lines and lines[-1].state == "ahead":
        return
    log.warning(told, action="window_ahead", workload=window.workload, window=window.id)
    line = JournalEntry(
        at=now,
        workload=window.workload,
        kind=JournalKind.WINDOW,
        subject=window.id,
        state="ahead",
        reason=f"{told}. It does not count as the last one, and windows go on",
        evidence={"start": window.start.isoformat(), "end": window.end.isoformat()},
    )
    parts.journal.append(line)


def _tell_skipped(parts: MonitorParts, workload: WorkloadId, skipped: int, *, since: datetime, until: datetime, now: datetime) -> None:
    told = f"{skipped} windows from {since.isoformat()} to {until.isoformat()} are not judged: of a backlog only the newest are"
    log.warning(told, action="windows_skipped", workload=workload)
    line = JournalEntry(
        at=now,
        workload=workload,
        kind=JournalKind.WINDOW,
        subject=derive("windows-skipped", workload, since.isoformat(), until.isoformat()),
        state="skipped",
        reason=told,
        evidence={"windows": skipped, "start": since.isoformat(), "end": until.isoformat()},
    )
    parts.journal.append(line)


def _close(
    parts: MonitorParts,
    rules: DriftRules,
    references: ReferencesInForce,
    *,
    window: tuple[WorkloadId, datetime, datetime],
    is_newest: bool,
    now: datetime,
) -> None:
    """The window (workload, start, end), and the longer ones that end with it."""
    workload, start, end = window
    traffic = parts.traffic.counts(workload)  # before the panes: what is recorded between the two is looked at again, and none is missed
    judged = judged_lengths(parts, workload, rules, references, end=end, now=now)
    closed = ClosedWindow(
        id=derive("window", workload, start.isoformat(), end.isoformat()),
        workload=workload,
        start=start,
        end=end,
        reference=references.input_id,
        traffic=traffic,
        verdicts=judged.verdicts,
    )
    if not is_newest:
        check = CrossCheck(missing="backlog: only the newest window is compared")
    elif not judged.rows_of_shortest:
        check = CrossCheck(missing="no rows in this window")
    else:
        check = _cross_check(parts, rules, closed, references)
    entry = _journal_line(closed, references, check, rows=judged.rows_of_shortest, now=now)
    on = JudgedRows(
        window=closed.id, start=start, end=end, since=judged.since, rows=judged.rows_of_longest, position=traffic.recorded, at=now
    )
    judgement = Judgement(on=on, champion=references.champion, released_at=references.released_at, line=entry.id)
    if parts.drift.close(replace(closed, second_opinions=check.scores), entry, judgement=judgement):
        parts.window_closed()
        log.info("Window closed", action="window_closed", workload=workload, window=closed.id, reason=entry.reason)


def _cross_check(parts: MonitorParts, rules: DriftRules, window: ClosedWindow, references: ReferencesInForce) -> CrossCheck:
    """All traffic, the protected slices, and those that drifted. Input and output columns each against their own reference."""
    inputs, outputs = (held.reference if held is not None else None for held in (references.inputs, references.outputs))
    if inputs is None and outputs is None:
        return CrossCheck(missing="there is no reference yet")
    drifted = sorted((one for one in window.verdicts if has_drifted(one)), key=lambda one: abs(one.effect or 0), reverse=True)
    flagged = [name for name in dict.fromkeys(verdict.slice for verdict in drifted) if name != EVERYTHING][:AT_MOST_FLAGGED]
    names = tuple(dict.fromkeys((EVERYTHING, *rules.drift.protected, *flagged)))
    current = {name: _sample(parts, window.workload, rules, name, start=window.start, end=window.end) for name in names}
    calm = not parts.alerts.alerts(workload=window.workload, open_only=True)
    html = str(parts.reports_folder / f"{window.id}.html") if drifted and calm else ""
    scores: list[EvidentlyScore] = []
    try:
        if inputs is not None and outputs is not None and inputs.id == outputs.id:
            asked: list[tuple[Reference, Sequence[Column]]] = [(inputs, COLUMNS)]
        else:
            asked = [(reference, columns) for reference, columns in ((inputs, INPUTS), (outputs, OUTPUTS)) if reference is not None]
        for reference, columns in asked:
            before = {name: _sample(parts, window.workload, rules, name, start=reference.start, end=reference.end) for name in names}
            if not before[EVERYTHING]:
                return CrossCheck(scores=tuple(scores), missing=f"the rows of reference {reference.id} are no longer kept", html="")
            scores += parts.reports.compare(
                current=_only(current, columns),
                reference=_only(before, columns),
                html_to=html if html and reference is asked[0][0] else None,
            )
    except CannotRun as error:
        log.warning("No cross-check", action="second_opinion_missing", workload=window.workload, window=window.id, reason=error.reason)
        return CrossCheck(scores=tuple(scores), missing=error.reason)
    return CrossCheck(scores=tuple(scores), html=html)


def _sample(
    parts: MonitorParts, workload: WorkloadId, rules: DriftRules, name: str, *, start: datetime, end: datetime
) -> Sequence[RecordedInference]:
    return parts.traffic.rows(workload=workload, start=start, end=end, slice_name=name, limit=rules.sample_rows)


def _only(rows: Mapping[str, Sequence[RecordedInference]], columns: Sequence[Column]) -> dict[str, list[RecordedInference]]:
    """Rows that show these columns alone: what a reference was not pinned for is not compared with it."""
    return {
        name: [replace(row, features={column.name: row.features.get(column.name) for column in columns}) for row in held]
        for name, held in rows.items()
    }


def _journal_line(window: ClosedWindow, references: ReferencesInForce, check: CrossCheck, *, rows: int, now: datetime) -> JournalEntry:
    drifted = [verdict for verdict in window.verdicts if has_drifted(verdict)]
    said = f"{rows} rows: {len(drifted)} of {len(window.verdicts)} drifted"
    if references.left_out:
        said += f"; pinned on other bins and learned anew: {', '.join(references.left_out)}"
    if check.missing:
        said += f"; no cross-check by Evidently ({check.missing})"
    return JournalEntry(
        at=now,
        workload=window.workload,
        kind=JournalKind.WINDOW,
        subject=window.id,
        state="judged",
        reason=said,
        caused_by=window.reference,
        evidence={
            "start": window.start.isoformat(),
            "end": window.end.isoformat(),
            "rows": rows,
            "statuses": statuses(window.verdicts),
            "drifted": named(drifted),
            "input_reference": references.input_id,
            "output_reference": references.output_id,
            "evidently_scores": len(check.scores),
            "evidently_drifted": sum(score.drifted for score in check.scores),
            "no_evidently_scores": check.missing,
            "html": check.html,
        },
    )
