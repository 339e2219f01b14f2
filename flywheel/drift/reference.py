"""What the traffic is compared with: counts of a past period, and whether they may be trusted yet.

In: window counts of a period, who pins it. Out: an immutable, hashed reference, and when the daemon may pin one by itself.
Hour-of-day references and measured dispersion are not made here yet.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from flywheel.errors import Refused
from flywheel.ids import BASE, DAEMON, EVERYTHING, AdapterName, Person, WorkloadId, derive, digest_of
from flywheel.windows.pane import WindowCounts


class Maturity(StrEnum):
    """How much of the calendar the reference has seen."""

    LEARNING = "learning"  # under one whole day and nobody pinned it: operational alerts only
    PINNED_EARLY = "pinned_early"  # under one whole day, but a person said it will do; alerts say so
    POOLED_DAYS = "pooled_days"


class Covers(StrEnum):
    """What a reference may be used for; kept in its ``meta``."""

    ALL = "all"
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
    counts: WindowCounts
    meta: Mapping[str, object]  # e.g. sample size; JSON values

    @property
    def covers(self) -> Covers:
        return Covers(str(self.meta.get("covers", Covers.ALL)))


def pin(
    *, counts: WindowCounts, adapter: AdapterName, by: Person, now: datetime, whole_day: timedelta, covers: Covers = Covers.ALL
) -> Reference:
    """Raises Refused for a period without rows: an empty reference would call everything drift."""
    rows = counts.rows.get(EVERYTHING, 0)
    if rows == 0:
        raise Refused(
            "no traffic was recorded in this period",
            where=f"reference of {counts.workload}",
            value=f"{counts.start.isoformat()} to {counts.end.isoformat()}",
            remedy="Name a period that holds traffic; `flywheel reference show` and the recorder's counts tell which.",
        )
    if counts.end - counts.start >= whole_day:
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
        meta={"covers": covers.value, "rows": rows, "slices": len(counts.rows)},
    )


def in_force(references: Sequence[Reference], *, champion: AdapterName | None) -> tuple[Reference | None, Reference | None]:
    """(input reference, output reference). Where nobody said who answers, the base is taken to.

    An adapter that has none of its own is not compared with another's answers: a better adapter would look like drift.
    """
    newest_first = sorted(references, key=lambda reference: reference.pinned_at, reverse=True)
    inputs = next((reference for reference in newest_first if reference.covers is Covers.ALL), None)
    outputs = next((reference for reference in newest_first if reference.adapter == (champion or BASE)), None)
    return inputs, outputs


@dataclass(frozen=True, kw_only=True)
class PinningPolicy:
    """When the daemon pins by itself; a person may pin at any time."""

    whole_day: timedelta
    watch: timedelta  # after a promotion, before the new champion's answers are the normal ones


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
) -> PinningDue:
    """``first_seen``: how far back there is traffic. ``champion_alone_since``: None while a challenger takes part, or nobody knows."""
    if inputs is None:
        if first_seen is not None and newest - first_seen >= policy.whole_day:
            return PinningDue(start=newest - policy.whole_day, end=newest, covers=Covers.ALL, reason="one whole day has been seen")
        return PinningDue(
            start=None, end=None, covers=Covers.ALL, reason="under one whole day has been seen, and nobody pinned a reference"
        )
    if outputs is None:
        if champion_alone_since is not None and newest - champion_alone_since >= policy.watch:
            return PinningDue(
                start=champion_alone_since, end=newest, covers=Covers.OUTPUT, reason="the new champion's watch period has passed"
            )
        return PinningDue(start=None, end=None, covers=Covers.OUTPUT, reason="the new champion is still in its watch period")
    return PinningDue(start=None, end=None, covers=Covers.ALL, reason="a reference is in force")


def _content(counts: WindowCounts) -> str:
    """A digest of every count, in an order of its own."""
    return digest_of(
        json.dumps(
            {name: {column: values.tolist() for column, values in columns.items()} for name, columns in counts.counts.items()},
            sort_keys=True,
        )
    )
