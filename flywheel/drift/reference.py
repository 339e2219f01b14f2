"""What the traffic is compared with: counts of a past period, and whether they may be trusted yet.

In: window counts of a period, who pins it. Out: an immutable, hashed reference, and when the daemon may pin one by itself, or a
longer one in its place. What the hours of a day held stands in ``profile``, how strong evidence must be in ``budget``.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from flywheel.drift.budget import Thresholds
from flywheel.drift.profile import Profile
from flywheel.drift.threshold_values import thresholds_from_values, thresholds_to_values
from flywheel.errors import InvalidInput, Refused
from flywheel.ids import BASE, DAEMON, EVERYTHING, AdapterName, Person, WorkloadId, derive, digest_of
from flywheel.plausible import CLOCKS, check_moments, check_text, check_whole
from flywheel.traffic.column import Column
from flywheel.windows.pane import WindowCounts
from flywheel.windows.plausible_counts import check_columns
from flywheel.windows.table import check_period, on_this_grid

PIN_AGAIN = "Pin the reference again (`flywheel reference pin`)."


class Maturity(StrEnum):
    """How much of the calendar the reference has seen."""

    LEARNING = "learning"  # under one whole day and nobody pinned it: operational alerts only
    PINNED_EARLY = "pinned_early"  # under one whole day, but a person said it will do; alerts say so
    POOLED_DAYS = "pooled_days"
    BY_HOUR = "by_hour"  # two days of a kind and more: a window is compared with like hours, weekdays and weekends apart


class Covers(StrEnum):
    """What a reference may be used for; kept in its ``meta``."""

    ALL = "all"
    INPUT = "input"  # pinned by the daemon over a promotion: its answers come from two adapters
    OUTPUT = "output"  # pinned by the daemon after a promotion: the input's reference survives promotions


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The input reference belongs to the workload; the output reference belongs to the adapter that answered."""

    id: str  # derived from workload, adapter, period, counts and rows
    workload: WorkloadId
    adapter: AdapterName
    start: datetime
    end: datetime
    maturity: Maturity
    pinned_by: Person
    pinned_at: datetime
    counts: WindowCounts
    meta: Mapping[str, object]  # e.g. sample size; JSON values

    def __post_init__(self) -> None:
        check_moments(f"reference {self.id}", start=self.start, end=self.end, pinned_at=self.pinned_at)
        if self.counts.workload != self.workload:
            raise InvalidInput(
                f"the counts belong to {self.counts.workload}", where=f"reference {self.id}", value=self.workload, remedy=PIN_AGAIN
            )

    @property
    def covers(self) -> Covers:
        held = str(self.meta.get("covers", Covers.ALL))
        if held not in set(Covers):
            raise InvalidInput(
                "nobody knows what this reference may be used for", where=f"reference {self.id}", value=held, remedy=PIN_AGAIN
            )
        return Covers(held)


def pin(
    *,
    counts: WindowCounts,
    adapter: AdapterName,
    by: Person,
    now: datetime,
    whole_day: timedelta,
    covers: Covers = Covers.ALL,
    columns: Sequence[Column] = (),
    profile: Profile | None = None,
    thresholds: Thresholds | None = None,
) -> Reference:
    """``columns``: what was counted; their grids are kept, so that a later version with other edges notices. ``profile``: the same period
    by the hour, where it is long enough. ``thresholds``: the alarm budget that was calibrated on it.

    Raises Refused for a period without rows: an empty reference would call everything drift; InvalidInput for counts, times and names
    that cannot be.
    """
    where = f"reference of {counts.workload!a}"
    check_moments(where, start=counts.start, end=counts.end, now=now)
    if not counts.start < counts.end or not isinstance(whole_day, timedelta) or whole_day <= timedelta():
        raise InvalidInput(
            "the period does not end after its start, or a whole day has no length",
            where=where,
            value=f"{counts.start.isoformat()} to {counts.end.isoformat()}, a day of {whole_day}",
            remedy=CLOCKS,
        )
    for said, name in (("workload", counts.workload), ("adapter", adapter), ("by", by)):
        check_text(name, where=f"{where}, {said}")
    check_columns(columns, where=where)
    check_period(counts, where=where)
    rows = counts.rows.get(EVERYTHING, 0)
    if rows == 0:
        raise Refused(
            "no traffic was recorded in this period",
            where=f"reference of {counts.workload}",
            value=f"{counts.start.isoformat()} to {counts.end.isoformat()}",
            remedy="Name a period that holds traffic; `flywheel reference show` and the recorder's counts tell which.",
        )
    if profile is not None:
        maturity = Maturity.BY_HOUR
    elif counts.end - counts.start >= whole_day:
        maturity = Maturity.POOLED_DAYS
    else:
        maturity = Maturity.LEARNING if by == DAEMON else Maturity.PINNED_EARLY
    return Reference(
        id=derive("reference", counts.workload, adapter, counts.start.isoformat(), counts.end.isoformat(), covers, _content(counts)),
        workload=counts.workload,
        adapter=adapter,
        start=counts.start,
        end=counts.end,
        maturity=maturity,
        pinned_by=by,
        pinned_at=now,
        counts=counts,
        meta={
            "covers": covers.value,
            "rows": rows,
            "slices": len(counts.rows),
            "grids": {column.name: grid_of(column) for column in columns},
            **({"profile": profile.digest} if profile is not None else {}),
            **({"thresholds": thresholds_to_values(thresholds)} if thresholds is not None else {}),
        },
    )


def grid_of(column: Column) -> str:
    """A digest of how the column is counted: its measure, lines and names."""
    return digest_of(json.dumps([column.measure.value, column.lines, column.names]))[:16]


def grids_of(reference: Reference) -> Mapping[str, str]:
    """Column name to ``grid_of``, as it was when the reference was pinned; empty for a reference that did not keep it."""
    held = reference.meta.get("grids")
    return {str(name): str(grid) for name, grid in held.items()} if isinstance(held, Mapping) else {}


def on_these_grids(reference: Reference, columns: Sequence[Column]) -> tuple[Reference, tuple[str, ...]]:
    """The reference without the columns that it holds on another grid, and their names: those are learned anew."""
    pinned_on = grids_of(reference)
    by_digest = {column.name for column in columns if pinned_on.get(column.name, grid_of(column)) != grid_of(column)}
    counts, by_bins = on_this_grid(reference.counts, columns)
    others = sorted({*by_digest, *by_bins})
    if not others:
        return reference, ()
    kept = {name: {column: values for column, values in held.items() if column not in others} for name, held in counts.counts.items()}
    grids = {name: grid for name, grid in pinned_on.items() if name not in others}
    return replace(reference, counts=replace(counts, counts=kept), meta={**reference.meta, "grids": grids}), tuple(others)


def thresholds_of(reference: Reference) -> Thresholds | None:
    """The alarm budget that was calibrated on the reference; None where there is none."""
    held = reference.meta.get("thresholds")
    if held is None:
        return None
    if not isinstance(held, Mapping):
        raise InvalidInput(
            "these are no thresholds of an alarm budget", where=f"reference {reference.id}", value=str(held)[:80], remedy=PIN_AGAIN
        )
    return thresholds_from_values(held)


def in_force(references: Sequence[Reference], *, champion: AdapterName | None) -> tuple[Reference | None, Reference | None]:
    """(input reference, output reference). Where nobody said who answers, the base is taken to.

    An adapter that has none of its own is not compared with another's answers: a better adapter would look like drift.
    """
    newest_first = sorted(references, key=lambda reference: reference.pinned_at, reverse=True)
    inputs = next((reference for reference in newest_first if reference.covers is not Covers.OUTPUT), None)
    of_answers = (reference for reference in newest_first if reference.covers is not Covers.INPUT)
    outputs = next((reference for reference in of_answers if reference.adapter == (champion or BASE)), None)
    return inputs, outputs


def pinning_moment(references: Sequence[Reference], *, now: datetime) -> datetime:
    """``now``, or just after the newest there is: what is pinned last is in force, also when a clock was ahead before."""
    return max([now, *(held.pinned_at + timedelta(microseconds=1) for held in references)])


@dataclass(frozen=True, kw_only=True)
class PinningPolicy:
    """When the daemon pins by itself; a person may pin at any time."""

    whole_day: timedelta
    watch: timedelta  # after a promotion, before the new champion's answers are the normal ones
    stages: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 14, 28)
    """Whole days after which the daemon pins again: each day of the first week, since each makes a young reference much better."""

    def __post_init__(self) -> None:
        lengths = (self.whole_day, self.watch)
        if not all(isinstance(length, timedelta) for length in lengths) or self.whole_day <= timedelta() or self.watch < timedelta():
            raise InvalidInput(
                "a whole day has a length, and the watch is not below zero",
                where="pinning policy",
                value=(str(self.whole_day), str(self.watch)),
                remedy="Correct the workload's `watch` settings.",
            )
        for days in self.stages:
            check_whole(days, where="pinning policy: stages", least=1)


def unbroken_since(moments: Collection[datetime], *, until: datetime, gap: timedelta) -> datetime | None:
    """Since when there has been traffic, up to ``until``, without a pause longer than ``gap``; None where there is none in the last one.

    A test a month ago is no beginning: days without traffic say nothing of what is usual.
    """
    check_moments("traffic that was seen", until=until)
    since = None
    for moment in sorted((moment for moment in moments if moment <= until), reverse=True):
        if (since or until) - moment > gap:
            break
        since = moment
    return since


@dataclass(frozen=True, kw_only=True)
class PinningDue:
    """A period to pin now, or None for both ends, and why."""

    start: datetime | None
    end: datetime | None
    covers: Covers
    reason: str


def pinning_due(
    *,
    inputs: Reference | None,
    outputs: Reference | None,
    champion_alone_since: datetime | None,
    first_seen: datetime | None,
    newest: datetime,
    policy: PinningPolicy,
    calm: bool = True,
) -> PinningDue:
    """``first_seen``: how far back there is traffic. ``champion_alone_since``: None while a challenger takes part, or nobody knows.

    ``calm``: no alert is open. A reference that stands is only replaced by a longer one of the daemon's own, in calm: what drifts now
    must not become the normal.
    """
    check_moments("pinning", first_seen=first_seen, champion_alone_since=champion_alone_since, newest=newest)
    nothing = PinningDue(start=None, end=None, covers=Covers.ALL, reason="a reference is in force")
    if inputs is None:
        if first_seen is not None and newest - first_seen >= policy.whole_day:
            start = newest - policy.whole_day * _stage(newest - first_seen, policy)
            return PinningDue(start=start, end=newest, covers=_covers(start, champion_alone_since), reason=_seen(newest - start, policy))
        return replace(nothing, reason="under one whole day has been seen, and nobody pinned a reference")
    if outputs is None:
        if champion_alone_since is not None and newest - champion_alone_since >= policy.watch:
            days = _stage(newest - champion_alone_since, policy)
            start = newest - policy.whole_day * days if days else champion_alone_since
            return PinningDue(start=start, end=newest, covers=Covers.OUTPUT, reason="the new champion's watch period has passed")
        return replace(nothing, covers=Covers.OUTPUT, reason="the new champion is still in its watch period")
    if not calm:
        return replace(nothing, reason="a reference is in force, and while an alert is open none is replaced")
    for held, since in ((inputs, first_seen), (outputs, champion_alone_since)):
        if since is None or held.pinned_by != DAEMON:
            continue
        days = _stage(newest - since, policy)
        if days >= 1 and held.end - held.start < policy.whole_day * days:
            start = newest - policy.whole_day * days
            covers = _covers(start, champion_alone_since) if held is inputs else Covers.OUTPUT
            return PinningDue(start=start, end=newest, covers=covers, reason=_seen(newest - start, policy))
    return nothing


def _stage(seen: timedelta, policy: PinningPolicy) -> int:
    """Of so much traffic, how many whole days make a reference: the longest of the stages it fills."""
    days = seen // policy.whole_day
    return max([stage for stage in policy.stages if stage <= days], default=0)


def _covers(start: datetime, champion_alone_since: datetime | None) -> Covers:
    """Where another adapter answered in a part of the period, it says nothing about this one's answers."""
    return Covers.INPUT if champion_alone_since is not None and champion_alone_since > start else Covers.ALL


def _seen(period: timedelta, policy: PinningPolicy) -> str:
    days = period // policy.whole_day
    return "one whole day has been seen" if days == 1 else f"{days} whole days have been seen"


def _content(counts: WindowCounts) -> str:
    """A digest of every count and of the rows, which shares are made of, in an order of its own."""
    held = {name: {column: values.tolist() for column, values in columns.items()} for name, columns in counts.counts.items()}
    return digest_of(json.dumps({"counts": held, "rows": dict(counts.rows)}, sort_keys=True))
