"""The daemon pins by itself: after a whole day, then again as more days are seen; and a new champion's answers after its watch.

load -> decide (flywheel.drift.reference) -> calibrate the alarm budget on the period -> store with the journal's line. A person may pin
at any time; what a person pinned is never replaced here, but the budget is calibrated on it all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import structlog

from flywheel.drift.budget import SHARE_COLUMN, Thresholds
from flywheel.drift.edges import coarsened_all, starts_all
from flywheel.drift.null_runs import NullSource, ReferenceWindows, calibrate
from flywheel.drift.profile import Profile, by_hour
from flywheel.drift.reference import (
    Covers,
    Reference,
    in_force,
    on_these_grids,
    pin,
    pinning_due,
    pinning_moment,
    thresholds_of,
    unbroken_since,
)
from flywheel.drift.seasons import Season, season_of
from flywheel.drift.window_pass import values_of
from flywheel.ids import BASE, DAEMON, EVERYTHING, WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from flywheel.rollout.release import Route
from flywheel.traffic.column import Column, Measure
from flywheel.traffic.features import COLUMNS
from flywheel.traffic.inference import Arm
from flywheel.windows.assign import pane_start
from flywheel.windows.pane import Counts, WindowCounts
from flywheel.windows.table import table_of
from services.drift_monitor.load_windows import DAY, EPOCH, HOUR, SEASONS, whole_hours
from services.drift_monitor.wiring import MonitorParts, WatchRules

log = structlog.get_logger()

SLICES_CALIBRATED = 200  # the largest ones; smaller slices share their thresholds
PAUSE_DAYS = 3  # without traffic, as a weekend of an office is: what came before still says what is usual
SEED = 20_260
"""Of the null runs: the same reference always gives the same thresholds."""


def pin_when_due(
    parts: MonitorParts, workload: WorkloadId, rules: WatchRules, route: Route | None, *, newest: datetime, now: datetime
) -> None:
    """At most one reference a call."""
    pane, policy = rules.windows.pane, rules.pinning
    until = pane_start(newest, pane)
    champion = route.champion if route else BASE
    references = parts.watch.references(workload)
    inputs, outputs = in_force(references, champion=champion)
    by_the_clock = _by_the_clock(rules)
    if policy.whole_day == DAY and inputs is not None and outputs is not None:
        until = until.replace(hour=0, minute=0, second=0, microsecond=0)  # whole days of the calendar from the second reference on
    elif by_the_clock:
        until = _hour_of(until)  # whole hours, by which the budget is calibrated
    alone_since = None
    # The few who are held back on the old champion do not make the new one's answers less its own.
    alone = route is None or route.challenger is None or route.challenger_arm is Arm.HOLDOUT
    if route is not None and alone and route.changed_at is not None:
        alone_since = pane_start(route.changed_at, pane) + pane
        alone_since = _hour_of(alone_since + HOUR - pane) if by_the_clock else alone_since
    longest = policy.whole_day * max(policy.stages)
    seen = parts.traffic.changes(workload=workload, start=until - longest, end=until, after=-1)
    due = pinning_due(
        inputs=inputs,
        outputs=outputs,
        champion_alone_since=alone_since,
        first_seen=unbroken_since(seen, until=until, gap=policy.whole_day * PAUSE_DAYS),
        newest=until,
        policy=policy,
        calm=alone and not parts.alerts.alerts(workload=workload, open_only=True),
    )
    if due.start is None or due.end is None:
        _calibrate_what_stands(parts, workload, rules, [held for held in (inputs, outputs) if held is not None], now=now)
        return
    counts = parts.traffic.window(workload=workload, start=due.start, end=due.end)
    if counts.rows.get(EVERYTHING, 0) < rules.drift.minimum_rows:
        return  # too thin to compare anything with: the next window asks again
    measured = _measured(parts, rules, counts)
    reference = pin(
        counts=counts,
        adapter=champion,
        by=DAEMON,
        now=pinning_moment(references, now=now),
        whole_day=policy.watch if due.covers is Covers.OUTPUT else policy.whole_day,
        covers=due.covers,
        columns=COLUMNS,
        profile=measured.profile,
        thresholds=measured.thresholds,
    )
    replaced = inputs.id if inputs is not None and due.covers is not Covers.OUTPUT else outputs.id if outputs is not None else ""
    entry = _line(reference, now=now, state="pinned", reason=due.reason, measured=measured, replaced=replaced)
    parts.watch.pin(reference, entry, profile=measured.profile)
    log.info("Reference pinned", action="reference_pinned", workload=workload, reference=reference.id, reason=due.reason)


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """What the period's own hours say."""

    thresholds: Thresholds | None = None
    profile: Profile | None = None
    reason: str = "fixed numbers of the policy: no whole day of whole hours"


def _calibrate_what_stands(
    parts: MonitorParts, workload: WorkloadId, rules: WatchRules, references: Sequence[Reference], *, now: datetime
) -> None:
    """One that was pinned without thresholds, by a person or by an older version: fixed numbers know neither its sessions nor its hours.

    Counts and id stay, and so does who vouches for it and since when.
    """
    for held in references:
        whole = held.end - held.start >= rules.pinning.whole_day
        if thresholds_of(held) is not None or not whole or on_these_grids(held, COLUMNS)[1]:
            continue
        measured = _measured(parts, rules, held.counts)
        if measured.thresholds is None:
            continue
        again = pin(
            counts=held.counts,
            adapter=held.adapter,
            by=held.pinned_by,
            now=held.pinned_at,
            whole_day=rules.pinning.whole_day,
            covers=held.covers,
            columns=COLUMNS,
            profile=measured.profile,
            thresholds=measured.thresholds,
        )
        parts.watch.pin(
            again, _line(again, now=now, state="calibrated", reason=measured.reason, measured=measured), profile=measured.profile
        )
        log.info("Reference calibrated", action="reference_calibrated", workload=workload, reference=again.id, reason=measured.reason)
        return


def _line(reference: Reference, *, now: datetime, state: str, reason: str, measured: _Measured, replaced: str = "") -> JournalEntry:
    budget = "fixed numbers of the policy" if measured.thresholds is None else f"{measured.thresholds.pages_a_day:g} pages a day"
    return JournalEntry(
        at=now,
        workload=reference.workload,
        kind=JournalKind.REFERENCE,
        subject=reference.id,
        state=state,
        reason=reason,
        evidence={
            "adapter": reference.adapter,
            "start": reference.start.isoformat(),
            "end": reference.end.isoformat(),
            "maturity": reference.maturity.value,
            "covers": reference.covers.value,
            "rows": reference.counts.rows.get(EVERYTHING, 0),
            "replaced": replaced,
            "alarm_budget": budget,
        },
    )


def _by_the_clock(rules: WatchRules) -> bool:
    """Are days and windows those that the alarm budget knows?"""
    return rules.pinning.whole_day == DAY and rules.windows.window == HOUR


def _hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _hours(parts: MonitorParts, counts: WindowCounts) -> list[WindowCounts]:
    """The whole days of whole hours in the period, from its first hour on."""
    first, hours = whole_hours(counts.start, counts.end)
    return [
        parts.traffic.window(workload=counts.workload, start=EPOCH + HOUR * hour, end=EPOCH + HOUR * (hour + 1))
        for hour in range(first, first + hours)
    ]


def _measured(parts: MonitorParts, rules: WatchRules, counts: WindowCounts) -> _Measured:
    """Nothing where a day or a window are not those of the clock: the fixed numbers stand, and verdicts say so."""
    if not _by_the_clock(rules) or not (hourly := _hours(parts, counts)):
        return _Measured()
    first_hour = (hourly[0].start - EPOCH) // HOUR
    now = season_of(first_hour=first_hour, hours=len(hourly))
    names = sorted(counts.rows, key=lambda name: (name != EVERYTHING, name not in rules.drift.protected, -counts.rows[name], name))
    slices = tuple(names[:SLICES_CALIBRATED])
    thresholds = calibrate(
        ReferenceWindows(
            first_hour=first_hour,
            slices=slices,
            counts={column.name: _coarse_hours(counts, hourly, slices, column) for column in COLUMNS}
            | {SHARE_COLUMN.name: _rows_of_all(hourly, slices)},
        ),
        rules.budget,
        SEED,
        columns=COLUMNS,
        protected=rules.drift.protected,
        source=NullSource(season=now.season),
        seasons=SEASONS,
    )
    return _Measured(thresholds=thresholds, profile=by_hour(hourly) if now.season is Season.HOUR_OF_DAY else None, reason=now.reason)


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
