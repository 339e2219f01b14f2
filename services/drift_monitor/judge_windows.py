"""Each tick: close the windows that are due, judge them, ask Evidently for a second opinion, keep the verdicts.

read -> load -> decide (flywheel.drift) -> store, with journal line and outbox event in one transaction. Safe to repeat: a
window's id is its workload and its time, and one that is closed stays closed. Judging again what came late is ``retesting``'s, opening
alerts the alert desk's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from flywheel.drift.closing import closing_edge
from flywheel.drift.incident import has_moved
from flywheel.drift.late import Judged
from flywheel.drift.reference import Reference
from flywheel.errors import CannotRun, FlywheelError
from flywheel.ids import EVERYTHING, WorkloadId, derive
from flywheel.journal import JournalEntry, JournalKind
from flywheel.traffic.column import Column
from flywheel.traffic.features import COLUMNS
from flywheel.windows.assign import windows_to_close
from services.drift_monitor.load_windows import INPUTS, OUTPUTS, Standing, judged_windows, standing_references
from services.drift_monitor.pin_references import pin_when_due
from services.drift_monitor.reevaluate_late_data import judge_what_came_late
from services.drift_monitor.telling import named, statuses
from services.drift_monitor.wiring import MonitorParts, WatchRules
from services.ports.drift import ClosedWindow, Judgement, SecondOpinion
from services.ports.traffic import RecordedInference

log = structlog.get_logger()

AT_MOST_WINDOWS = 24  # of a backlog; older ones nobody waits for
AT_MOST_FLAGGED = 10  # flagged slices that get a second opinion, those that moved most


@dataclass(frozen=True, kw_only=True)
class Opinions:
    """Evidently's scores, or why there are none."""

    scores: tuple[SecondOpinion, ...] = ()
    missing: str = ""
    html: str = ""


def tick(parts: MonitorParts, now: datetime) -> None:
    """Every workload, one after the other. One that cannot be judged (a profile that cannot be read) keeps no other from its turn; what is
    wrong with it is raised when all have had theirs."""
    wrong: FlywheelError | None = None
    for workload, rules in parts.workloads.items():
        try:
            close_due_windows(parts, workload, rules, now)
            judge_what_came_late(parts, workload, rules, now)
        except FlywheelError as error:
            log.error("Workload not judged", action="workload_not_judged", workload=workload, reason=str(error))
            wrong = wrong or error
    if wrong is not None:
        raise wrong


def close_due_windows(parts: MonitorParts, workload: WorkloadId, rules: WatchRules, now: datetime) -> None:
    """Oldest first. Of a backlog only the newest window gets a second opinion, and the others say so."""
    newest = parts.traffic.newest(workload)
    if newest is None:
        return
    closed = parts.watch.windows(workload, limit=1)
    edge = closing_edge(newest=newest, now=now, policy=rules.windows)
    due = windows_to_close(edge, closed[0].end if closed else None, rules.windows, at_most=AT_MOST_WINDOWS)
    if not due:
        return
    route = parts.route(workload)
    pin_when_due(parts, workload, rules, route, newest=newest, now=now)
    champion, released_at = (route.champion, route.changed_at) if route else (None, None)
    standing = standing_references(parts, workload, champion=champion, released_at=released_at)
    for start, end in due:
        _close(parts, workload, rules, standing, start=start, end=end, is_newest=end == due[-1][1], now=now)


def _close(
    parts: MonitorParts,
    workload: WorkloadId,
    rules: WatchRules,
    standing: Standing,
    *,
    start: datetime,
    end: datetime,
    is_newest: bool,
    now: datetime,
) -> None:
    """The window, and the longer ones that end with it."""
    inputs, outputs = standing.inputs, standing.outputs
    traffic = parts.traffic.counts(workload)  # before the panes: what is recorded between the two is looked at again, and none is missed
    judged = judged_windows(parts, workload, rules, standing, end=end, now=now)
    rows = judged.counts.rows.get(EVERYTHING, 0)
    window = ClosedWindow(
        id=derive("window", workload, start.isoformat(), end.isoformat()),
        workload=workload,
        start=start,
        end=end,
        reference=inputs.id if inputs else "",
        traffic=traffic,
        verdicts=judged.verdicts,
    )
    if not is_newest:
        opinions = Opinions(missing="backlog: only the newest window is compared")
    elif not rows:
        opinions = Opinions(missing="no rows in this window")
    else:
        opinions = _second_opinions(parts, rules, window, inputs, outputs)
    entry = _journal_line(window, standing, opinions, rows=rows, now=now)
    on = Judged(window=window.id, start=start, end=end, since=judged.since, rows=judged.rows, position=traffic.recorded, at=now)
    judgement = Judgement(on=on, champion=standing.champion, released_at=standing.released_at, line=entry.id)
    if parts.watch.close(replace(window, second_opinions=opinions.scores), entry, judgement=judgement):
        log.info("Window closed", action="window_closed", workload=workload, window=window.id, reason=entry.reason)


def _second_opinions(
    parts: MonitorParts, rules: WatchRules, window: ClosedWindow, inputs: Reference | None, outputs: Reference | None
) -> Opinions:
    """The whole, the protected slices, and those that our pass flagged. Input and output columns each against their own reference."""
    if inputs is None and outputs is None:
        return Opinions(missing="there is no reference yet")
    moved = sorted(
        (verdict for verdict in window.verdicts if has_moved(verdict)), key=lambda verdict: abs(verdict.effect or 0), reverse=True
    )
    flagged = [name for name in dict.fromkeys(verdict.slice for verdict in moved) if name != EVERYTHING][:AT_MOST_FLAGGED]
    names = tuple(dict.fromkeys((EVERYTHING, *rules.drift.protected, *flagged)))
    current = {name: _sample(parts, window.workload, rules, name, start=window.start, end=window.end) for name in names}
    html = (
        str(parts.reports_folder / f"{window.id}.html")
        if moved and not parts.alerts.alerts(workload=window.workload, open_only=True)
        else ""
    )
    scores: list[SecondOpinion] = []
    try:
        if inputs is not None and outputs is not None and inputs.id == outputs.id:
            asked: list[tuple[Reference, Sequence[Column]]] = [(inputs, COLUMNS)]
        else:
            asked = [(reference, columns) for reference, columns in ((inputs, INPUTS), (outputs, OUTPUTS)) if reference is not None]
        for reference, columns in asked:
            before = {name: _sample(parts, window.workload, rules, name, start=reference.start, end=reference.end) for name in names}
            if not before[EVERYTHING]:
                return Opinions(scores=tuple(scores), missing=f"the rows of reference {reference.id} are no longer kept", html="")
            scores += parts.reports.compare(
                current=_only(current, columns),
                reference=_only(before, columns),
                html_to=html if html and reference is asked[0][0] else None,
            )
    except CannotRun as error:
        log.warning("No second opinion", action="second_opinion_missing", workload=window.workload, window=window.id, reason=error.reason)
        return Opinions(scores=tuple(scores), missing=error.reason)
    return Opinions(scores=tuple(scores), html=html)


def _sample(
    parts: MonitorParts, workload: WorkloadId, rules: WatchRules, name: str, *, start: datetime, end: datetime
) -> Sequence[RecordedInference]:
    return parts.traffic.rows(workload=workload, start=start, end=end, slice_name=name, limit=rules.sample_rows)


def _only(rows: Mapping[str, Sequence[RecordedInference]], columns: Sequence[Column]) -> dict[str, list[RecordedInference]]:
    """Rows that show these columns alone: what a reference was not pinned for is not compared with it."""
    return {
        name: [replace(row, features={column.name: row.features.get(column.name) for column in columns}) for row in held]
        for name, held in rows.items()
    }


def _journal_line(window: ClosedWindow, standing: Standing, opinions: Opinions, *, rows: int, now: datetime) -> JournalEntry:
    inputs, outputs = standing.inputs, standing.outputs
    moved = [verdict for verdict in window.verdicts if has_moved(verdict)]
    said = f"{rows} rows: {len(moved)} of {len(window.verdicts)} moved"
    if standing.left_out:
        said += f"; pinned on other edges and learned anew: {', '.join(standing.left_out)}"
    if opinions.missing:
        said += f"; no second opinion ({opinions.missing})"
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
            "moved": named(moved),
            "input_reference": inputs.id if inputs else "",
            "output_reference": outputs.id if outputs else "",
            "second_opinions": len(opinions.scores),
            "second_opinions_drifted": sum(opinion.drifted for opinion in opinions.scores),
            "no_second_opinion": opinions.missing,
            "html": opinions.html,
        },
    )
