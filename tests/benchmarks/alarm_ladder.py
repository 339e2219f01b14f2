"""The ladder of real changes: how soon an alarm fires at each, in slices drawn anew, each with a reference of its own.

Every run is a workload of its own, watched by the daemon's own steps (``alarm_watch``): the slice that changes, and the rest of the traffic
in one slice. Its thresholds come from references of the whole workload that the daemon pinned and calibrated, several of each kind, so
that the luck of one calibration does not stand for all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from flywheel.drift.alarm_budget import BudgetPolicy
from flywheel.drift.reference import calibrated as with_thresholds
from flywheel.drift.reference import pin
from flywheel.drift.seasonal_reference import Season, season_of, seasonal_reference
from flywheel.drift.thresholds import CalibratedThresholds
from flywheel.ids import Person
from flywheel.journal import JournalEntry
from flywheel.traffic.features import COLUMNS
from tests.benchmarks.alarm_watch import LONGEST, WORKLOAD, Life, Watched, moment
from tests.benchmarks.alarm_world import BY_NAME, FIRST_HOUR, FIRSTS, Counted, Sessions, World, WorldShape

CHAMPION = "champion-0"
REST = "slice=rest"
NOT_IN_TIME = 999
SOMEBODY = Person("benchmark")  # the daemon never replaces what a person pinned
WEEK = 7 * 24


@dataclass(frozen=True, kw_only=True)
class Change:
    """One step of the ladder."""

    name: str
    column: str
    protected: bool  # the small slice; else the large one
    moved: float  # on the normal scale of the column
    within: int  # hours

    @property
    def series(self) -> tuple[str, ...]:
        """The columns that show it: its own, and that of each session's first."""
        firsts = FIRSTS.get(self.column)
        return (self.column, firsts.name) if firsts is not None else (self.column,)

    @property
    def is_input(self) -> bool:
        return BY_NAME[self.column].column.family == "input"


def _rate_moved(before: float, after: float) -> float:
    return float(ndtri(after) - ndtri(before))


SHIFT = Change(name="0.3 sigma, 567 rows an hour, within 2 h", column="prompt_chars", protected=False, moved=0.3, within=2)
REFUSALS = Change(
    name="refusal 3 to 6 %, 567 rows an hour, within 4 h",
    column="refusal",
    protected=False,
    moved=_rate_moved(0.03, 0.06),
    within=4,
)
PROTECTED_SHIFT = Change(
    name="protected, 57 rows an hour: 0.5 sigma within 6 h", column="prompt_chars", protected=True, moved=0.5, within=6
)
PROTECTED_REFUSALS = Change(
    name="protected, 57 rows an hour: refusal 3 to 8 % within 12 h",
    column="refusal",
    protected=True,
    moved=_rate_moved(0.03, 0.08),
    within=12,
)
LADDER = (SHIFT, REFUSALS, PROTECTED_SHIFT, PROTECTED_REFUSALS)


@dataclass(frozen=True, kw_only=True)
class Past:
    """Thresholds that the daemon calibrated on so many days of the whole workload, and the rest of the traffic around a slice.

    ``rest`` [hours, 1 slice]: the days of the reference, then two weeks of steady traffic.
    """

    days: int
    thresholds: CalibratedThresholds
    rest: Counted


def calibrated(shape: WorldShape, *, days: int, sessions: Sessions, seed: int, budget: BudgetPolicy | None = None) -> CalibratedThresholds:
    """Those of the reference that the daemon pins when it looks for the first time, on so many whole days."""
    life = Life(shape, seed=seed, sessions=sessions, budget=budget)
    life.watched.champion(CHAMPION, since=FIRST_HOUR - WEEK)
    for day in range(days):
        life.day(FIRST_HOUR + 24 * day, look=False)
    life.watched.look(FIRST_HOUR + 24 * days - 1)
    (reference,) = life.watched.ledger.references(WORKLOAD)
    assert reference.thresholds is not None  # a whole day was seen
    return reference.thresholds


def rest_of(shape: WorldShape, *, days: int, sessions: Sessions, seed: int) -> Counted:
    """[hours, 1 slice]: so many days and two weeks of steady traffic around a slice."""
    steady = World(shape, seed=seed, sessions=sessions, steady=True)
    parts = [steady.hours(FIRST_HOUR + 24 * day, shares=np.full((24, 1), 1 - shape.shares[shape.large])) for day in range(days + 14)]
    return Counted(rows=np.concatenate([part.rows for part in parts]), counts=np.concatenate([part.counts for part in parts]))


def past(shape: WorldShape, *, days: int, sessions: Sessions, seed: int, budget: BudgetPolicy | None = None) -> Past:
    """Calibrated thresholds, and steady traffic around a slice."""
    return Past(
        days=days,
        thresholds=calibrated(shape, days=days, sessions=sessions, seed=seed, budget=budget),
        rest=rest_of(shape, days=days, sessions=sessions, seed=seed + 1),
    )


def hours_until_alarm(change: Change, before: Past, shape: WorldShape, *, sessions: Sessions, seed: int, runs: int) -> NDArray[np.int64]:
    """Hours from the change to the alarm that names its column or that column's firsts, in each run; else ``NOT_IN_TIME``."""
    world = World(shape, seed=seed, sessions=sessions, columns=(change.column,), steady=True)
    rng = np.random.default_rng(seed + 1)
    return np.array([_run(change, before, shape, world, start=int(rng.integers(LONGEST, WEEK))) for _ in range(runs)], dtype=np.int64)


def alarms_over(change: Change, pasts: Sequence[Past], shape: WorldShape, *, sessions: Sessions, seed: int, runs: int) -> NDArray[np.int64]:
    """The runs divided among calibrations."""
    each = runs // len(pasts)
    return np.concatenate(
        [hours_until_alarm(change, held, shape, sessions=sessions, seed=seed + 10 * place, runs=each) for place, held in enumerate(pasts)]
    )


def _run(change: Change, before: Past, shape: WorldShape, world: World, *, start: int) -> int:
    for watched, hours in after_change(change, before, shape, world, start=start):
        shown = {(watched.traffic.slices[0], column) for column in change.series}
        if any(fired.series & shown for fired in watched.fired()):
            return hours
    return NOT_IN_TIME


def after_change(change: Change, before: Past, shape: WorldShape, world: World, *, start: int) -> Iterator[tuple[Watched, int]]:
    """The workload after each hour of the change, which comes ``start`` hours after the reference's end; its first slice changes."""
    place = shape.small if change.protected else shape.large
    name = shape.slices[place]
    watched = Watched((name, REST), protected=(name,) if change.protected else ())
    watched.champion(CHAMPION, since=FIRST_HOUR - WEEK)
    share, end = shape.shares[place], FIRST_HOUR + 24 * before.days

    def record(first: int, hours: int, *, moved: float = 0.0) -> None:
        drawn = world.hours(first, shares=np.full((hours, 1), share), moved={change.column: moved})
        at = slice(first - FIRST_HOUR, first - FIRST_HOUR + hours)
        rows = np.concatenate([drawn.rows, before.rest.rows[at]], axis=1)
        counts = np.concatenate([drawn.counts, before.rest.counts[at]], axis=1)
        for hour in range(hours):
            watched.traffic.add(moment(first + hour), rows=rows[hour], counts=counts[hour])

    record(FIRST_HOUR, 24 * before.days)
    _pin(watched, before, end=end)
    watched.traffic.forget(moment(end))
    record(end + start - LONGEST, LONGEST)
    record(end + start, change.within, moved=change.moved)
    for hour in range(change.within):
        watched.look(end + start + hour)
        yield watched, hour + 1


def _pin(watched: Watched, before: Past, *, end: int) -> None:
    """What was recorded so far, with the whole workload's thresholds."""
    start, now = moment(FIRST_HOUR), moment(end)
    reference = pin(
        counts=watched.traffic.window(workload=WORKLOAD, start=start, end=now),
        adapter=watched.champion_name,
        by=SOMEBODY,
        now=now,
        whole_day=watched.rules.pinning.whole_day,
        columns=COLUMNS,
    )
    seasonal = None
    if season_of(first_hour=FIRST_HOUR, hours=24 * before.days)[0] is Season.HOUR_OF_DAY:
        hourly = watched.traffic.hourly(workload=WORKLOAD, start=start, hours=24 * before.days)
        seasonal = seasonal_reference(hourly, first_hour=FIRST_HOUR)
    reference = with_thresholds(reference, thresholds=before.thresholds, seasonal=seasonal)
    line = JournalEntry(at=now, workload=WORKLOAD, kind="reference", subject=reference.id, state="pinned", reason="a run of the ladder")
    watched.ledger.pin(reference, line, seasonal=seasonal)
