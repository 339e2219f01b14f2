"""What is deleted when: how long each kind of record is kept, and what keeps older records in place.

In: the days of each kind, the time, the last jump of the clock, what is held. Out: for each kind the time before which records are
deleted, with the reason, and the periods in which they may be. Nothing is deleted here, and no record is known here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from flywheel.clock import CLOCKS_DIFFER_BY, lies_ahead

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
AFTER_A_JUMP = DAY
"""Nothing is deleted for so long after the clock was set: what looks old may be of today."""

KEYS_AFTER_CONTENTS = 2 * DAY
"""Until the contents that a key sealed are surely deleted."""


class RecordKind(StrEnum):
    """What is deleted after a time of its own."""

    ROWS = "rows"  # of recorded attempts: ids, column values, tokens, times
    CONTENTS = "contents"  # requests and answers
    KEYS = "keys"  # data keys of subjects that have no content any more
    IDS = "ids"  # of recorded events, so that none is recorded twice; and which sessions were counted on which day
    PANES = "panes"  # counts of traffic, from which windows and references are made
    EVIDENCE = "evidence"  # judged windows with their verdicts
    WORK = "work"  # items of the work queue that are done or failed
    DEAD_LETTERS = "dead_letters"  # events that could not be recorded or decided, and messages that the broker refused
    LOGS = "logs"  # lines of log files
    REPORTS = "reports"  # pages that Evidently wrote


SHARED = frozenset({RecordKind.IDS, RecordKind.LOGS})
"""Of all workloads together: neither says whose it is."""


@dataclass(frozen=True, kw_only=True)
class RetentionPolicy:
    """For how many days each kind is kept."""

    rows: float = 30.0
    contents: float = 21.0
    ids: float = 35.0
    panes: float = 400.0
    evidence: float = 90.0
    work: float = 90.0
    dead_letters: float = 30.0
    logs: float = 30.0
    reports: float = 30.0

    def kept(self, kind: RecordKind) -> timedelta:
        if kind is RecordKind.KEYS:
            return timedelta(days=self.contents) + KEYS_AFTER_CONTENTS
        return timedelta(days=float(getattr(self, kind.value)))


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Records from ``start`` up to ``end`` stay although their time is over, because of ``reason``."""

    kinds: frozenset[RecordKind]
    start: datetime
    end: datetime | None  # None: all since ``start``
    reason: str
    sample: int = 0  # above 0: of each hour only so many rows stay, those with the smallest hash of their event id


@dataclass(frozen=True, kw_only=True)
class Cutoff:
    """``before``: older records are deleted; None: none are, because of ``reason``."""

    before: datetime | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class OldPeriod:
    """From ``start`` (None: since ever) up to ``end``: what lies in it is deleted, but for ``sample`` rows of each hour."""

    start: datetime | None
    end: datetime
    sample: int = 0


@dataclass(frozen=True, kw_only=True)
class ClockReading:
    """``running``: seconds since the machine started, its pauses included; setting the clock does not move it. ``boot`` names the start."""

    wall: datetime
    running: float
    boot: str


def cutoffs(policy: RetentionPolicy, *, now: datetime, last_jump: datetime | None) -> Mapping[RecordKind, Cutoff]:
    """Whole hours, so that a step of an hour is complete. ``last_jump``: when the clock was set last, as far as that is known."""
    if last_jump is not None and not now - last_jump >= AFTER_A_JUMP:
        reason = f"the clock was set at {last_jump:%Y-%m-%d %H:%M} UTC, and nothing is deleted within a day of that"
        return {kind: Cutoff(before=None, reason=reason) for kind in RecordKind}
    found = {}
    for kind in RecordKind:
        before = (now.astimezone(UTC) - policy.kept(kind)).replace(minute=0, second=0, microsecond=0)
        found[kind] = Cutoff(before=before, reason=f"{kind.value} are kept for {policy.kept(kind) / DAY:g} days")
    return found


def old_periods(before: datetime, holds: Sequence[Hold]) -> list[OldPeriod]:
    """The time before ``before`` without what is held, oldest first. Of periods that overlap the one that keeps more counts."""
    edges = sorted({edge for hold in holds for edge in (hold.start, hold.end) if edge is not None and edge < before})
    starts: list[datetime | None] = [None, *edges]
    found = []
    for start, end in zip(starts, [*edges, before], strict=True):
        over = [hold for hold in holds if start is not None and hold.start <= start and (hold.end is None or hold.end > start)]
        if all(hold.sample for hold in over):
            found.append(OldPeriod(start=start, end=end, sample=max((hold.sample for hold in over), default=0)))
    return found


def hours_of(period: OldPeriod) -> Iterator[OldPeriod]:
    """The hours of a period with a start; parts of hours at its ends."""
    assert period.start is not None
    start = period.start
    while start < period.end:
        end = min(start.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + HOUR, period.end)
        yield OldPeriod(start=start, end=end, sample=period.sample)
        start = end


def doubt(before: ClockReading | None, now: ClockReading) -> str:
    """Why the clock may have been set between two readings; "" where it went right.

    After a restart of the machine it cannot be measured: then a gap of over a day counts as a jump.
    """
    if before is None:
        return "old records were never deleted here"
    if before.boot == now.boot:
        moved = (now.wall - before.wall) - timedelta(seconds=now.running - before.running)
        if abs(moved) <= CLOCKS_DIFFER_BY:
            return ""
        return f"the clock was set {'forward' if moved > timedelta() else 'back'} by {_rounded(abs(moved))}"
    if lies_ahead(before.wall, now=now.wall):
        return f"the clock is behind {before.wall:%Y-%m-%d %H:%M} UTC, where it stood before the machine restarted"
    if now.wall - before.wall > DAY:
        return f"the machine has restarted, and whether its clock was set in the last {_rounded(now.wall - before.wall)} is not known"
    return ""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """So many bytes a day are added, and none are deleted for so many days; then as many are deleted as are added."""

    bytes_a_day: float
    days: float


def days_until_full(free: float, growing: Sequence[Growth]) -> float | None:
    """``free``: bytes. None: what grows stops growing before."""
    passed = 0.0
    for one in sorted(growing, key=lambda one: one.days):
        rate = sum(other.bytes_a_day for other in growing if other.days > passed)
        if rate > 0 and free < rate * (one.days - passed):
            return passed + free / rate
        free -= rate * (one.days - passed)
        passed = one.days
    return None


def _rounded(length: timedelta) -> str:
    return (
        f"{length / DAY:.1f} days" if length >= DAY else f"{length / HOUR:.1f} hours" if length >= HOUR else f"{length.seconds // 60} min"
    )
