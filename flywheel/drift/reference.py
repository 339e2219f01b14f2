"""The reference: the counts of a past period that traffic is compared with, and its maturity.

In: the counts of a period, who pins it. Out: an immutable reference whose id is a hash of its content; and which references are in force.
``pinning`` decides when the daemon pins one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from flywheel.drift.seasonal_reference import SeasonalReference, counts_as_json, json_digest
from flywheel.drift.thresholds import CalibratedThresholds
from flywheel.errors import Refused
from flywheel.ids import BASE, DAEMON, AdapterName, Person, WorkloadId, derive, digest_of
from flywheel.traffic.column import Column
from flywheel.windows.counts import CountMatrix, WindowCounts


class Maturity(StrEnum):
    """How much of the calendar the reference covers."""

    LEARNING = "learning"  # less than one whole day, pinned by the daemon: operational alerts only
    PINNED_EARLY = "pinned_early"  # less than one whole day, pinned by a person; alerts say so
    POOLED_DAYS = "pooled_days"
    BY_HOUR = "by_hour"  # at least two days of a kind: windows are compared with the same hours of weekdays or of weekends


class Covers(StrEnum):
    """Which columns a reference may be used for."""

    ALL = "all"
    INPUT = "input"  # pinned by the daemon over a promotion: its answers come from two adapters
    OUTPUT = "output"  # pinned by the daemon after a promotion: the input's reference survives promotions


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The input reference belongs to the workload; the output reference belongs to the adapter that answered."""

    id: str  # derived from workload, adapter, period and counts
    workload: WorkloadId
    adapter: AdapterName
    start: datetime
    end: datetime
    maturity: Maturity
    pinned_by: Person
    pinned_at: datetime
    counts: CountMatrix
    covers: Covers = Covers.ALL
    grids: Mapping[str, str] = field(default_factory=dict)  # column -> ``bins_digest`` when it was pinned; empty if not stored
    seasonal_digest: str = ""  # of its seasonal reference; "" if there is none
    thresholds: CalibratedThresholds | None = None  # None: the policy's fixed ones


def pin(
    *,
    counts: WindowCounts,
    adapter: AdapterName,
    by: Person,
    now: datetime,
    whole_day: timedelta,
    covers: Covers = Covers.ALL,
    columns: Sequence[Column] = (),
) -> Reference:
    """``columns``: the counted columns; a digest of their bins is stored, so that a version with other bins finds the difference.

    Raises Refused for a period without rows: with an empty reference everything would drift.
    """
    if counts.rows == 0:
        raise Refused(
            "no traffic was recorded in this period",
            where=f"reference of {counts.workload}",
            value=f"{counts.start.isoformat()} to {counts.end.isoformat()}",
            remedy="Name a period with traffic; see `flywheel reference show` and the recorder's counts.",
        )
    if counts.end - counts.start >= whole_day:
        maturity = Maturity.POOLED_DAYS
    else:
        maturity = Maturity.LEARNING if by == DAEMON else Maturity.PINNED_EARLY
    content = json_digest(counts_as_json(counts.matrix))
    return Reference(
        id=derive("reference", counts.workload, adapter, counts.start.isoformat(), counts.end.isoformat(), covers, content),
        workload=counts.workload,
        adapter=adapter,
        start=counts.start,
        end=counts.end,
        maturity=maturity,
        pinned_by=by,
        pinned_at=now,
        counts=counts.matrix,
        covers=covers,
        grids={column.name: bins_digest(column) for column in columns},
    )


def calibrated(reference: Reference, *, thresholds: CalibratedThresholds | None, seasonal: SeasonalReference | None) -> Reference:
    """The same reference with calibrated thresholds, and by the hour if ``seasonal`` is given."""
    by_hour = {"maturity": Maturity.BY_HOUR, "seasonal_digest": seasonal.digest} if seasonal is not None else {}
    return replace(reference, thresholds=thresholds, **by_hour)  # type: ignore[arg-type]


def bins_digest(column: Column) -> str:
    """A digest of how the column is counted: its measure, bin edges and names."""
    return digest_of(json.dumps([column.measure.value, column.edges, column.names]))[:16]


def on_other_bins(reference: Reference, columns: Sequence[Column]) -> tuple[str, ...]:
    """Sorted names of the columns whose bins have changed since the reference was pinned."""
    held = dict(reference.counts.bins)
    return tuple(
        sorted(
            column.name
            for column in columns
            if held.get(column.name, column.bins) != column.bins
            or reference.grids.get(column.name, bins_digest(column)) != bins_digest(column)
        )
    )


def in_force(references: Sequence[Reference], *, champion: AdapterName | None) -> tuple[Reference | None, Reference | None]:
    """(input reference, output reference). With no champion, the base is assumed.

    An adapter is only compared with its own output reference: a better adapter would look like drift.
    """
    newest_first = sorted(references, key=lambda reference: reference.pinned_at, reverse=True)
    inputs = next((reference for reference in newest_first if reference.covers is not Covers.OUTPUT), None)
    of_answers = (reference for reference in newest_first if reference.covers is not Covers.INPUT)
    outputs = next((reference for reference in of_answers if reference.adapter == (champion or BASE)), None)
    return inputs, outputs


def pinning_moment(references: Sequence[Reference], *, now: datetime) -> datetime:
    """``now``, or 1 microsecond after the newest pin if that is later: the last pin is in force, also if a clock was ahead."""
    return max([now, *(held.pinned_at + timedelta(microseconds=1) for held in references)])
