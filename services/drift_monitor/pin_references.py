"""The daemon pins by itself: after a whole day, then again as more days are seen; and a new champion's answers after its watch.

load -> decide (flywheel.drift.pinning) -> calibrate thresholds on the period (flywheel.drift.calibration) -> store with the journal's
line. What a person pinned is never replaced here, but thresholds are calibrated on it all the same.
"""

from collections.abc import Sequence
from datetime import datetime

import structlog

from flywheel.drift.calibration import calibrate
from flywheel.drift.judge import whole_hours
from flywheel.drift.null_windows import null_period
from flywheel.drift.pinning import filled_time, first_whole_pane, period_end, pinning_due
from flywheel.drift.reference import Covers, Reference, calibrated, in_force, on_other_bins, pin, pinning_moment
from flywheel.drift.seasonal_reference import SeasonalReference
from flywheel.drift.thresholds import HOUR
from flywheel.ids import BASE, DAEMON, WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from flywheel.rollout.release import Route
from flywheel.traffic.features import COLUMNS
from flywheel.traffic.inference import Arm
from flywheel.windows.counts import WindowCounts
from flywheel.windows.pane import EPOCH
from services.drift_monitor.wiring import DriftRules, MonitorParts

log = structlog.get_logger()

SEED = 20_260
"""Seed of the calibration: the same reference always gives the same thresholds."""


def pin_when_due(
    parts: MonitorParts, workload: WorkloadId, rules: DriftRules, route: Route | None, *, newest: datetime, now: datetime
) -> None:
    """At most one reference a call."""
    policy, windows = rules.pinning, rules.windows
    champion = route.champion if route else BASE
    references = parts.drift.references(workload)
    inputs, outputs = in_force(references, champion=champion)
    until = period_end(newest, both_in_force=inputs is not None and outputs is not None, windows=windows, policy=policy)
    # A holdout on the old champion does not change the answers of the new one.
    alone = route is None or route.challenger is None or route.challenger_arm is Arm.HOLDOUT
    champion_alone_since = until if not alone else None
    if alone and route is not None and route.changed_at is not None:
        champion_alone_since = first_whole_pane(route.changed_at, windows=windows, policy=policy)
    seen = parts.traffic.changes(workload=workload, start=until - policy.look_back, end=until, after=-1)
    due = pinning_due(
        inputs=inputs,
        outputs=outputs,
        champion_alone_since=champion_alone_since,
        filled=filled_time(seen, until=until, windows=windows, policy=policy),
        newest=until,
        policy=policy,
        may_replace=alone and not parts.alerts.alerts(workload=workload, open_only=True),
    )
    if due.start is None or due.end is None:
        _calibrate_what_stands(parts, workload, rules, [held for held in (inputs, outputs) if held is not None], now=now)
        return
    counts = parts.traffic.window(workload=workload, start=due.start, end=due.end)
    if counts.rows < rules.drift.minimum_rows:
        return  # too thin to compare anything with: the next window asks again
    reference, seasonal, _ = _calibrated(
        parts,
        rules,
        pin(
            counts=counts,
            adapter=champion,
            by=DAEMON,
            now=pinning_moment(references, now=now),
            whole_day=policy.watch if due.covers is Covers.OUTPUT else policy.whole_day,
            covers=due.covers,
            columns=COLUMNS,
        ),
    )
    replaced = inputs.id if inputs is not None and due.covers is not Covers.OUTPUT else outputs.id if outputs is not None else ""
    parts.drift.pin(reference, _line(reference, now=now, state="pinned", reason=due.reason, replaced=replaced), seasonal=seasonal)
    log.info("Reference pinned", action="reference_pinned", workload=workload, reference=reference.id, reason=due.reason)


def _calibrate_what_stands(
    parts: MonitorParts, workload: WorkloadId, rules: DriftRules, references: Sequence[Reference], *, now: datetime
) -> None:
    """One that was pinned without thresholds, by a person or by an older version: fixed thresholds know neither its sessions nor its hours.

    Counts and id stay, and so does who vouches for it and since when.
    """
    for held in references:
        whole = held.end - held.start >= rules.pinning.whole_day
        if held.thresholds is not None or not whole or on_other_bins(held, COLUMNS):
            continue
        reference, seasonal, reason = _calibrated(parts, rules, held)
        if reference.thresholds is None:
            continue
        parts.drift.pin(reference, _line(reference, now=now, state="calibrated", reason=reason), seasonal=seasonal)
        log.info("Reference calibrated", action="reference_calibrated", workload=workload, reference=reference.id, reason=reason)
        return


def _calibrated(parts: MonitorParts, rules: DriftRules, reference: Reference) -> tuple[Reference, SeasonalReference | None, str]:
    """As it is, where a day or a window are not those of the clock: the fixed thresholds hold, and verdicts say so."""
    first_hour, hours = whole_hours(reference.start, reference.end)
    if not rules.pinning.can_calibrate(rules.windows) or not hours:
        return reference, None, "fixed thresholds of the policy: no whole day of whole hours"
    period = WindowCounts(workload=reference.workload, start=reference.start, end=reference.end, matrix=reference.counts)
    hourly = parts.traffic.hourly(workload=reference.workload, start=EPOCH + first_hour * HOUR, hours=hours)
    null, seasonal = null_period(hourly, period=period, columns=COLUMNS, protected=rules.drift.protected)
    thresholds = calibrate(null, rules.budget, SEED, minimum_reference_rows=rules.drift.minimum_rows)
    return calibrated(reference, thresholds=thresholds, seasonal=seasonal), seasonal, null.reason


def _line(reference: Reference, *, now: datetime, state: str, reason: str, replaced: str = "") -> JournalEntry:
    thresholds = reference.thresholds
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
            "rows": reference.counts.rows_of("all"),
            "replaced": replaced,
            "thresholds": "fixed thresholds of the policy" if thresholds is None else f"for {thresholds.alarms_a_day:g} alarms a day",
        },
    )
