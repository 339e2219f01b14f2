"""Loads what a window is compared with, and judges the windows of every length that end at one moment.

load -> decide (flywheel.drift). Nothing is stored here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flywheel.drift.incident import has_moved
from flywheel.drift.profile import Profile, like_hours
from flywheel.drift.reference import Reference, in_force, on_these_grids, thresholds_of
from flywheel.drift.seasons import SeasonPolicy, times_seen
from flywheel.drift.verdict import DriftStatus, DriftVerdict, judge_columns, judge_shares
from flywheel.ids import EVERYTHING, AdapterName, WorkloadId
from flywheel.traffic.column import Column, Family
from flywheel.traffic.features import COLUMNS
from flywheel.windows.assign import nested_windows
from flywheel.windows.pane import Tally, WindowCounts, add
from flywheel.windows.table import on_this_grid
from services.drift_monitor.wiring import MonitorParts, WatchRules

INPUTS = tuple(column for column in COLUMNS if column.family is Family.INPUT)
OUTPUTS = tuple(column for column in COLUMNS if column.family is not Family.INPUT)
SEASONS = SeasonPolicy()
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The references in force, as far as they were counted on today's edges."""

    inputs: Reference | None
    outputs: Reference | None
    input_profile: Profile | None
    output_profile: Profile | None
    left_out: tuple[str, ...]  # columns that were pinned on other edges
    champion: AdapterName | None  # whose answers are judged; None where nobody said
    released_at: datetime | None  # answers before it came from another champion


@dataclass(frozen=True, kw_only=True)
class JudgedWindows:
    """The windows of every length that end at one moment."""

    counts: WindowCounts  # of the shortest
    since: datetime  # where the longest begins
    rows: int  # of the longest
    verdicts: tuple[DriftVerdict, ...]


def standing_references(
    parts: MonitorParts, workload: WorkloadId, *, champion: AdapterName | None, released_at: datetime | None
) -> Standing:
    """A version with other edges must not stop the daemon: such columns are learned anew, and the journal names them."""
    inputs, outputs = in_force(parts.watch.references(workload), champion=champion)
    profiles = [parts.watch.profile(held) if held is not None else None for held in (inputs, outputs)]
    left_out: set[str] = set()
    if inputs is not None:
        inputs, other = on_these_grids(inputs, COLUMNS)
        left_out |= set(other)
    if outputs is not None:
        outputs, other = on_these_grids(outputs, COLUMNS)
        left_out |= set(other)
    return Standing(
        inputs=inputs,
        outputs=outputs,
        input_profile=profiles[0],
        output_profile=profiles[1],
        left_out=tuple(sorted(left_out)),
        champion=champion,
        released_at=released_at,
    )


def judged_windows(
    parts: MonitorParts, workload: WorkloadId, rules: WatchRules, standing: Standing, *, end: datetime, now: datetime
) -> JudgedWindows:
    """Of longer windows only the verdicts that are worth a look are kept.

    A longer window is left out when its part beyond the shorter one holds no rows: it could only repeat that one. Its answers are left
    out when it reaches back before the last change of the route: they came from two champions.
    """
    total = Tally(counts={}, rows={})
    shortest: WindowCounts | None = None
    verdicts: list[DriftVerdict] = []
    lengths = nested_windows(end, rules.windows)
    for nested in lengths:
        part = parts.traffic.window(workload=workload, start=nested.start, end=nested.added_until)
        if shortest is not None and not part.rows.get(EVERYTHING, 0):
            continue
        total = add(total, part)
        window = WindowCounts(workload=workload, start=nested.start, end=end, counts=total.counts, rows=total.rows)
        window, _ = on_this_grid(window, COLUMNS)
        found = list(_columns(window, standing.inputs, standing.input_profile, INPUTS, rules, now))
        found += _shares(window, standing, rules, now)
        mixed = shortest is not None and standing.released_at is not None and standing.released_at > nested.start
        if not mixed:
            found += _columns(window, standing.outputs, standing.output_profile, OUTPUTS, rules, now)
        if shortest is None:
            shortest = window
            verdicts += found
        else:
            verdicts += [verdict for verdict in found if _worth_keeping(verdict, rules)]
    assert shortest is not None  # there is always a shortest window
    return JudgedWindows(counts=shortest, since=lengths[-1].start, rows=total.rows.get(EVERYTHING, 0), verdicts=tuple(verdicts))


def _columns(
    window: WindowCounts, reference: Reference | None, profile: Profile | None, columns: Sequence[Column], rules: WatchRules, now: datetime
) -> tuple[DriftVerdict, ...]:
    return judge_columns(
        window=window,
        reference=reference,
        columns=columns,
        policy=rules.drift,
        now=now,
        thresholds=thresholds_of(reference) if reference is not None else None,
        like=_like(reference, profile, window),
    )


def _shares(window: WindowCounts, standing: Standing, rules: WatchRules, now: datetime) -> tuple[DriftVerdict, ...]:
    return judge_shares(
        window=window,
        reference=standing.inputs,
        policy=rules.drift,
        now=now,
        like=_like(standing.inputs, standing.input_profile, window),
        thresholds=thresholds_of(standing.inputs) if standing.inputs is not None else None,
    )


def whole_hours(start: datetime, end: datetime) -> tuple[int, int]:
    """Of a period: its first hour since the epoch, and how many make its whole days. A pin at five past takes the minutes before it too."""
    first = (start - EPOCH) // HOUR
    return first, (end - EPOCH - first * HOUR) // DAY * 24


def _like(reference: Reference | None, profile: Profile | None, window: WindowCounts) -> Tally | None:
    """With times a little before the hour's end taken for the hour: windows are cut by panes, which divide it."""
    if reference is None or profile is None:
        return None
    start = window.start - timedelta(minutes=window.start.minute, seconds=window.start.second)
    length = max(HOUR, window.end - window.start)
    if length % HOUR:
        return None
    first, hours = whole_hours(reference.start, reference.end)
    seen = times_seen(first_hour=first, hours=hours)
    return like_hours(profile, start=start, end=start + length, policy=SEASONS, seen=seen)


def _worth_keeping(verdict: DriftVerdict, rules: WatchRules) -> bool:
    """Of 2,000 cells at five lengths an hour nobody reads those that are quiet: what moved, the whole, and the protected slices."""
    return (
        has_moved(verdict)
        or verdict.status is DriftStatus.DRIFTING
        or verdict.slice == EVERYTHING
        or verdict.slice in rules.drift.protected
    )
