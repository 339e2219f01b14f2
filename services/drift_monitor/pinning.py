"""The daemon pins by itself: after a whole day, again after a week, by the hour after four; and a new champion's answers after its watch.

load -> decide (flywheel.drift.reference) -> calibrate the alarm budget on the period -> store with the journal's line. A person may pin
at any time, and what a person pinned is never replaced here.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import structlog

from flywheel.drift.budget import SHARE_COLUMN, Thresholds
from flywheel.drift.edges import coarsened_all, starts_all
from flywheel.drift.null_runs import NullSource, ReferenceWindows, calibrate
from flywheel.drift.profile import by_hour
from flywheel.drift.reference import Covers, in_force, pin, pinning_due
from flywheel.drift.seasons import Season
from flywheel.drift.window_pass import values_of
from flywheel.ids import BASE, DAEMON, EVERYTHING, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.rollout.release import Route
from flywheel.traffic.column import Column, Measure
from flywheel.traffic.features import COLUMNS
from flywheel.traffic.inference import Arm
from flywheel.windows.assign import pane_start
from flywheel.windows.pane import Counts, WindowCounts
from flywheel.windows.table import table_of
from services.wiring.drift_monitor import MonitorParts, WatchRules

log = structlog.get_logger()

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SLICES_CALIBRATED = 200  # the largest ones; smaller slices share their thresholds
SEED = 20_260
"""Of the null runs: the same reference always gives the same thresholds."""


def pin_when_due(
    parts: MonitorParts, workload: WorkloadId, rules: WatchRules, route: Route | None, *, newest: datetime, now: datetime
) -> None:
    """At most one reference a call."""
    pane, policy = rules.windows.pane, rules.pinning
    until = pane_start(newest, pane)
    champion = route.champion if route else BASE
    inputs, outputs = in_force(parts.watch.references(workload), champion=champion)
    if policy.whole_day == DAY and inputs is not None and outputs is not None:
        until = until.replace(hour=0, minute=0, second=0, microsecond=0)  # whole days of the calendar from the second reference on
    alone_since = None
    # The few who are held back on the old champion do not make the new one's answers less its own.
    alone = route is None or route.challenger is None or route.challenger_arm is Arm.HOLD_BACK
    if route is not None and alone and route.changed_at is not None:
        alone_since = pane_start(route.changed_at, pane) + pane
    due = pinning_due(
        inputs=inputs,
        outputs=outputs,
        champion_alone_since=alone_since,
        first_seen=_first_seen(parts, workload, rules, until, replacing=inputs is not None and outputs is not None),
        newest=until,
        policy=policy,
        calm=alone and not parts.watch.alerts(workload=workload, open_only=True),
    )
    if due.start is None or due.end is None:
        return
    counts = parts.traffic.window(workload=workload, start=due.start, end=due.end)
    if counts.rows.get(EVERYTHING, 0) < rules.drift.minimum_rows:
        return  # too thin to compare anything with: the next window asks again
    days = (due.end - due.start) // policy.whole_day
    hourly = _hours(parts, workload, due.start, due.end) if policy.whole_day == DAY and days >= policy.pooled_days else []
    reads_by_hour = bool(hourly) and days >= policy.by_hour_days
    reference = pin(
        counts=counts,
        adapter=champion,
        by=DAEMON,
        now=now,
        whole_day=policy.watch if due.covers is Covers.OUTPUT else policy.whole_day,
        covers=due.covers,
        columns=COLUMNS,
        profile=(profile := by_hour(hourly) if reads_by_hour else None),
        thresholds=(thresholds := _thresholds(counts, hourly, rules, by_the_hour=reads_by_hour)),
    )
    entry = JournalEntry(
        at=now,
        workload=workload,
        kind="reference",
        subject=reference.id,
        state="pinned",
        reason=due.reason,
        evidence={
            "adapter": champion,
            "start": reference.start.isoformat(),
            "end": reference.end.isoformat(),
            "maturity": reference.maturity.value,
            "covers": due.covers.value,
            "rows": counts.rows.get(EVERYTHING, 0),
            "replaced": inputs.id if inputs is not None and due.covers is not Covers.OUTPUT else outputs.id if outputs is not None else "",
            "alarm_budget": "fixed numbers of the policy" if thresholds is None else f"{thresholds.pages_a_day:g} pages a day",
        },
    )
    parts.watch.pin(reference, entry, profile=profile)
    log.info("Reference pinned", action="reference_pinned", workload=workload, reference=reference.id, reason=due.reason)


def _first_seen(parts: MonitorParts, workload: WorkloadId, rules: WatchRules, until: datetime, *, replacing: bool) -> datetime | None:
    """How far back there is traffic: the longest of the periods that would make a reference and whose first window holds rows."""
    policy = rules.pinning
    for days in (policy.by_hour_days, policy.pooled_days, 1) if replacing else (1,):
        start = pane_start(until - policy.whole_day * days, rules.windows.pane)
        reach = start if replacing else start - rules.windows.window
        if parts.traffic.window(workload=workload, start=reach, end=reach + rules.windows.window).rows.get(EVERYTHING, 0):
            return start
    return None


def _hours(parts: MonitorParts, workload: WorkloadId, start: datetime, end: datetime) -> list[WindowCounts]:
    return [
        parts.traffic.window(workload=workload, start=start + HOUR * hour, end=start + HOUR * (hour + 1))
        for hour in range((end - start) // HOUR)
    ]


def _thresholds(counts: WindowCounts, hourly: Sequence[WindowCounts], rules: WatchRules, *, by_the_hour: bool) -> Thresholds | None:
    """None where the period or the windows are too short for the budget's hours: the fixed numbers stand, and verdicts say so."""
    if not hourly or rules.windows.window != HOUR:
        return None
    names = sorted(counts.rows, key=lambda name: (name != EVERYTHING, name not in rules.drift.protected, -counts.rows[name], name))
    slices = tuple(names[:SLICES_CALIBRATED])
    return calibrate(
        ReferenceWindows(
            first_hour=(hourly[0].start - EPOCH) // HOUR,
            slices=slices,
            counts={column.name: _coarse_hours(counts, hourly, slices, column) for column in COLUMNS}
            | {SHARE_COLUMN.name: _rows_of_all(hourly, slices)},
        ),
        rules.budget,
        SEED,
        columns=COLUMNS,
        protected=rules.drift.protected,
        source=NullSource(season=Season.HOUR_OF_DAY) if by_the_hour else NullSource(season=Season.POOLED_DAYS, days=None),
    )


def _rows_of_all(hourly: Sequence[WindowCounts], slices: Sequence[str]) -> Counts:
    """[hours, slices, 2]: rows of all others, and the slice's own; nothing of the whole, which holds all of itself."""
    own = np.array([[window.rows.get(name, 0) for name in slices] for window in hourly], dtype=np.int64)
    whole = np.array([window.rows.get(EVERYTHING, 0) for window in hourly], dtype=np.int64)
    found = np.stack([whole[:, None] - own, own], axis=-1)
    found[:, [name == EVERYTHING for name in slices]] = 0
    return found


def _coarse_hours(counts: WindowCounts, hourly: Sequence[WindowCounts], slices: Sequence[str], column: Column) -> Counts:
    """[hours, slices, bins] of one column, on the edges that the whole period bears."""
    where = f"reference of {counts.workload}"

    def values(window: WindowCounts) -> Counts:
        return values_of(column, table_of(window, slices=slices, columns=(column,), where=where).counts[column.name])

    if column.measure is not Measure.NUMBER:
        return np.stack([values(window) for window in hourly])
    starts = starts_all(values(counts))
    return np.stack([coarsened_all(values(window), starts) for window in hourly])
