"""The daemon's part in a made-up year: it pins, calibrates, judges each hour and opens incidents, with the wheel's own functions.

A reference is pinned after a whole day, and anew when it has seen more days, as long as no incident is open; the alarm budget is calibrated
on the reference itself. What is judged against it follows from how much it has seen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from flywheel.alerts.alert import Alert, AlertState, Severity
from flywheel.alerts.facts import Finding, WindowFacts
from flywheel.alerts.lifecycle import AlertPolicy, Move, advance
from flywheel.drift.budget import GENERAL, PROTECTED, SHARE_COLUMN, SHARES, BudgetPolicy, Thresholds, standing_strength
from flywheel.drift.null_runs import NullSource, ReferenceWindows, calibrate
from flywheel.drift.reference import PinningPolicy
from flywheel.drift.seasons import Season, SeasonPolicy, like_hours, profile_of, season_of, sliding_sums, times_seen
from flywheel.ids import WorkloadId
from flywheel.traffic.column import Column
from tests.benchmarks.alarm_world import INPUTS, NAMES, Hourly
from tests.benchmarks.alarm_world import PROTECTED as SHIELDED

SEED = 20_261_122
POLICY = BudgetPolicy()
SEASONS = SeasonPolicy()
PINNING = PinningPolicy(whole_day=timedelta(days=1), watch=timedelta(days=1))
LONGEST = max(POLICY.lengths)
ALERTS = AlertPolicy(resolve_after=timedelta(hours=6))
MEMBERS = np.isin(np.asarray(NAMES), np.asarray(SHIELDED))
START = datetime(2026, 1, 1, tzinfo=UTC)
Hours = NDArray[np.bool_]


def with_shares(hourly: Hourly) -> Hourly:
    """Beside the columns, each slice's rows among all."""
    own = hourly[INPUTS[0].name].sum(axis=-1)
    return {**hourly, SHARE_COLUMN.name: np.stack([own.sum(axis=1, keepdims=True) - own, own], axis=-1)}


def joined(days: Sequence[Hourly], names: Iterable[str]) -> Hourly:
    return {name: np.concatenate([day[name] for day in days]) for name in names}


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A reference of whole days, and the thresholds that were calibrated on it."""

    hourly: Hourly
    first_hour: int
    season: Season
    thresholds: Thresholds
    _like: dict[tuple[str, int, int], NDArray[np.int64]] = field(default_factory=dict)  # the like hours of a week are the same every week

    def compared_with(self, name: str, *, length: int, hour: int) -> NDArray[np.int64]:
        """What the windows that end with each hour of the day from ``hour`` on meet: [24, slices, bins]."""
        key = (name, length, hour // 24 % 7)
        if key not in self._like:
            self._like[key] = reference_of(self.hourly[name], self.first_hour, self.season, hour=hour, hours=24, length=length)
        return self._like[key]


def reference_of(hourly: NDArray[np.int64], first_hour: int, season: Season, *, hour: int, hours: int, length: int) -> NDArray[np.int64]:
    """[hours, slices, bins]: the part of a reference that is like each of the windows that end with these hours."""
    if season is not Season.HOUR_OF_DAY:
        return np.broadcast_to(hourly.sum(axis=0, dtype=np.int64), (hours, *hourly.shape[1:]))
    return like_hours(
        profile_of(hourly, first_hour=first_hour),
        first_hour=hour,
        hours=hours,
        length=length,
        policy=SEASONS,
        seen=times_seen(first_hour=first_hour, hours=len(hourly)),
    )


def pinned(days: Sequence[Hourly], columns: Sequence[Column], *, first_hour: int) -> Pinned:
    """As the daemon's monitor does it: the thresholds come from the reference itself."""
    hourly = joined(days, [column.name for column in columns])
    season = season_of(first_hour=first_hour, hours=24 * len(days)).season
    thresholds = calibrate(
        ReferenceWindows(first_hour=first_hour, slices=NAMES, counts=hourly),
        POLICY,
        SEED,
        columns=[column for column in columns if column is not SHARE_COLUMN],
        protected=SHIELDED,
        source=NullSource(season=season),
        seasons=SEASONS,
    )
    return Pinned(hourly=hourly, first_hour=first_hour, season=season, thresholds=thresholds)


def strength_of(
    now: NDArray[np.int64], before: NDArray[np.int64], column: Column, thresholds: Thresholds, *, length: int, family: str
) -> NDArray[np.float64]:
    rule = thresholds.rule(hours=length, family=family, column=column)
    return standing_strength(now, before, column, spread=rule.spread, floor=rule.floor, minimum_rows=rule.minimum_rows)


class Watched:
    """Columns that are judged against one reference, which grows as long as ``grows``."""

    def __init__(self, columns: Sequence[Column], *, standing: Pinned | None = None, yesterday: Hourly | None = None) -> None:
        self.columns, self._standing, self._grows = columns, standing, standing is None
        self._past: list[Hourly] = []
        self._yesterday = yesterday

    def begin_anew(self) -> None:
        """Another champion answers: nothing of before says what is usual."""
        self._past, self._standing, self._yesterday = [], None, None

    def day(self, today: Hourly, *, hour: int, calm: bool) -> Hours:
        """Which of the day's hours pass a threshold."""
        self._pin_when_due(hour, calm=calm)
        found = np.zeros(24, dtype=bool)
        if self._standing is not None and self._yesterday is not None:
            for column in self.columns:
                series = np.concatenate([self._yesterday[column.name][-LONGEST:], today[column.name]])
                found |= self._passed(self._standing, column, series, hour)
        self._yesterday = today
        if self._grows:
            self._past = [*self._past, today][-max(PINNING.stages) :]
        return found

    def _pin_when_due(self, hour: int, *, calm: bool) -> None:
        due = max((days for days in PINNING.stages if days <= len(self._past)), default=0)
        held = len(self._standing.hourly[self.columns[0].name]) // 24 if self._standing is not None else 0
        if self._grows and due > held and (calm or not held):
            self._standing = pinned(self._past[-due:], self.columns, first_hour=hour - 24 * due)

    def _passed(self, standing: Pinned, column: Column, series: NDArray[np.int64], hour: int) -> Hours:
        found = np.zeros(24, dtype=bool)
        families = {SHARES: np.ones_like(MEMBERS)} if column is SHARE_COLUMN else {GENERAL: ~MEMBERS, PROTECTED: MEMBERS}
        for length in POLICY.lengths:
            now = sliding_sums(series, length)[-24:]
            before = standing.compared_with(column.name, length=length, hour=hour)
            for family, members in families.items():
                strength = strength_of(now[:, members], before[:, members], column, standing.thresholds, length=length, family=family)
                found |= (strength >= standing.thresholds.strengths[length, family, column.measure]).any(axis=1)
        return found


class Desk:
    """Incidents, opened and closed by the alert desk's own rule."""

    def __init__(self) -> None:
        self._alert: Alert | None = None
        self._hour = 0
        self.hours_open = 0
        self.pages: list[int] = []  # the hours at which somebody was called

    @property
    def calm(self) -> bool:
        return self._alert is None or self._alert.state is AlertState.RESOLVED

    def take(self, alarms: Hours) -> None:
        """Hours in a row, one flag each."""
        for alarm in alarms.tolist():
            if alarm or not self.calm:
                self._look(alarm=alarm)
            self._hour += 1

    def _look(self, *, alarm: bool) -> None:
        self.hours_open += 1
        now = START + timedelta(hours=self._hour)
        facts = WindowFacts(
            workload=WorkloadId("made-up"),
            window=f"w{self._hour}",
            at=now,
            finding=Finding.MOVED if alarm else Finding.QUIET,
            severity=Severity.WARNING,
            summary="",
            first_action="",
        )
        step = advance(alert=self._alert, facts=facts, policy=ALERTS, now=now)
        while step.move is not Move.NONE:
            if step.move is Move.FIRED:
                self.pages.append(self._hour)
            self._alert = step.alert
            step = advance(alert=self._alert, facts=facts, policy=ALERTS, now=now)
