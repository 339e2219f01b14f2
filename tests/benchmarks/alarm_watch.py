"""A simulated workload watched by the daemon's own steps: drift monitor and alert service, hour by hour, on stores in memory.

In: a world, what happens in it, a clock that is set here. Out: the alarms that fired, and how long they stayed open. Nothing is decided
here: pinning, calibration, judging, late data, alerts and their hysteresis are the services' own functions. Evidently's reports are left
out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from flywheel.drift.alarm_budget import BudgetPolicy
from flywheel.ids import AdapterName, WorkloadId
from flywheel.rollout.release import Route
from services.alert_desk.advance_alerts import AlertStates
from services.alert_desk.wiring import AlertDeskParts, AlertRules
from services.drift_monitor.judge_windows import tick
from services.drift_monitor.wiring import MonitorParts, drift_rules
from services.settings import Slices, Workload
from services.settings.policies import build_policies
from tests.benchmarks.alarm_world import Counted, Sessions, World, WorldShape
from tests.fakes.watching import CountedTraffic, DriftAndAlertLedgerInMemory, JournalInMemory, ScriptedReports

WORKLOAD = WorkloadId("simulated")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
AFTER_THE_HOUR = timedelta(minutes=10)  # the daemon looks every second; by then the hour's window may close
LONGEST = 24  # hours of a window
KEPT_WINDOWS = 60  # the alert service reads the newest 50
KEPT_REFERENCES = 5  # of answers; a champion that was replaced never returns here, and each holds some 10 MB
RECORD = 30 * 24  # hours of panes that are kept
LOOKS_AT_LATE_ROWS = 5  # ticks: one late hour lies in as many windows as the longest has hours, and a tick takes some of them


@dataclass(frozen=True, kw_only=True)
class Interruption:
    """A slice that sends nothing for some hours, or one that comes for some."""

    slice: str
    first: int
    hours: int

    def explains(self, hour: int) -> bool:
        """May a window that ends with this hour show it?"""
        return self.first <= hour < self.first + self.hours + LONGEST


@dataclass(frozen=True, kw_only=True)
class Fired:
    """An alarm. ``series``: (slice, column) of what drifted when the alert was last seen."""

    hour: int
    hours_open: int
    series: frozenset[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Span:
    """What some days without any real change gave."""

    days: int
    alarms: Sequence[int]  # the hours at which they fired, from the first hour of the span on
    hours_open: int
    explained: int = 0  # beside them: alarms at a slice that really stopped
    interruptions: int = 0  # slices that stopped

    @property
    def a_day(self) -> float:
        return len(self.alarms) / self.days

    @property
    def bound(self) -> float:
        """Upper 95 % bound of a Poisson rate (Garwood 1936)."""
        return float(chi2.ppf(0.95, 2 * (len(self.alarms) + 1)) / 2 / self.days)

    @property
    def by_week(self) -> list[int]:
        return np.cumsum(np.bincount([hour // (7 * 24) for hour in self.alarms], minlength=self.days // 7 + 1)).tolist()


def moment(hour: int) -> datetime:
    """The start of an hour since the epoch."""
    return EPOCH + HOUR * hour


class Watched:
    """One workload, the record of its traffic, the ledger, and both processes."""

    def __init__(self, slices: Sequence[str], *, protected: Sequence[str] = (), budget: BudgetPolicy | None = None) -> None:
        workload = Workload(alias="simulated", slices=Slices(dimensions=("slice",), protected=tuple(protected)))
        self.traffic = CountedTraffic(slices=slices)
        self.ledger = DriftAndAlertLedgerInMemory(keep=KEPT_WINDOWS, keep_answers=KEPT_REFERENCES)
        self.champion_name = AdapterName("")
        self.route: Route | None = None
        self.rules = drift_rules(workload)
        if budget is not None:
            self.rules = replace(self.rules, budget=budget)
        self.parts = MonitorParts(
            traffic=self.traffic,
            drift=self.ledger,
            alerts=self.ledger,
            journal=JournalInMemory(held=self.ledger.journal),
            reports=ScriptedReports(),
            route=lambda _: self.route,
            workloads={WORKLOAD: self.rules},
            reports_folder=Path("unused"),
        )
        rules = AlertRules(policy=build_policies(workload).alerts, protected=tuple(protected))
        self._alerts = AlertStates(AlertDeskParts(drift=self.ledger, alerts=self.ledger, workloads={WORKLOAD: rules}))

    def champion(self, name: str, *, since: int) -> None:
        """From this hour on all answers come from it."""
        version = self.route.version + 1 if self.route is not None else 1
        self.champion_name = AdapterName(name)
        self.route = Route(workload=WORKLOAD, alias=str(WORKLOAD), version=version, champion=self.champion_name, changed_at=moment(since))

    def record(self, hour: int, counted: Counted, at: int = 0) -> None:
        """Hour ``at`` of what was counted."""
        self.traffic.add(moment(hour), rows=counted.rows[at], counts=counted.counts[at])

    def look(self, hour: int, *, late: bool = False) -> None:
        """Both processes, shortly after this hour's end. ``late``: rows of older hours came in it."""
        now = moment(hour + 1) + AFTER_THE_HOUR
        for _ in range(LOOKS_AT_LATE_ROWS if late else 1):
            self.traffic.clock = now
            tick(self.parts, now)
            self._alerts.tick(now)
            now += timedelta(seconds=1)

    def fired(self) -> list[Fired]:
        """All alarms so far, oldest first; one that is not over is open up to now."""
        found = []
        for alert in reversed(self.ledger.alerts(workload=WORKLOAD)):
            if alert.fired_at is not None:
                end = alert.resolved_at or self.traffic.clock or alert.fired_at
                hour = (alert.fired_at - EPOCH - AFTER_THE_HOUR) // HOUR - 1
                found.append(Fired(hour=hour, hours_open=max(1, round((end - alert.fired_at) / HOUR)), series=alert.seen.drifted))
        return found


class Life:
    """A world as it is lived by a watched workload: rows that come late, slices that come and go, champions that change."""

    def __init__(self, shape: WorldShape, *, seed: int, sessions: Sessions, budget: BudgetPolicy | None = None) -> None:
        self.shape = shape
        self._world = World(shape, seed=seed, sessions=sessions)
        self._rng = np.random.default_rng([seed, 1])
        self._visitor = "slice=visitor"
        self.watched = Watched((*shape.slices, self._visitor), protected=shape.protected_slices, budget=budget)
        self.interruptions: list[Interruption] = []
        self._visit: Interruption | None = None
        self._late: dict[int, list[tuple[int, Counted]]] = {}  # hour of arrival -> hour of the rows, and what they hold

    def day(self, first: int, *, version: int = 0, look: bool = True) -> None:
        """24 hours from ``first`` on. ``look``: the processes run; else the traffic is recorded alone."""
        shares = self._shares_of(first)
        mishaps = self.shape.mishaps
        late = (self._rng.random(24) < mishaps.late) * mishaps.late_rows
        counted = self._world.hours(first, shares=shares, version=version, part=1 - late)
        for at in np.flatnonzero(late).tolist():
            rows = self._world.hours(first + at, shares=shares[at : at + 1], version=version, part=late[at : at + 1])
            self._late.setdefault(first + at + int(self._rng.integers(2, LONGEST)), []).append((first + at, rows))
        for at in range(24):
            hour = first + at
            self.watched.record(hour, counted, at)
            came = self._late.pop(hour, [])
            for of, rows in came:
                self.watched.record(of, rows)
            if look:
                self.watched.look(hour, late=bool(came))
        self.watched.traffic.forget(moment(first + 24 - RECORD))

    def _shares_of(self, first: int) -> NDArray[np.float64]:
        """[24, slices]"""
        hours = first + np.arange(24)
        shares = np.tile([*self.shape.shares, 0.0], (24, 1))
        mishaps = self.shape.mishaps
        if self._visit is None and self._rng.random() < mishaps.visits:
            self._visit = Interruption(
                slice=self._visitor, first=first + int(self._rng.integers(24)), hours=int(self._rng.integers(24, 96))
            )
        if self._visit is not None:
            inside = (hours >= self._visit.first) & (hours < self._visit.first + self._visit.hours)
            shares[inside, -1] = mishaps.visitor
            if hours[-1] >= self._visit.first + self._visit.hours:
                self._visit = None
        if self._rng.random() < mishaps.pauses:
            place = int(self._rng.integers(3, len(self.shape.shares)))
            pause = Interruption(
                slice=self.shape.slices[place], first=first + int(self._rng.integers(12)), hours=int(self._rng.integers(6, 36))
            )
            self.interruptions.append(pause)
        for pause in self.interruptions[-3:]:
            inside = (hours >= pause.first) & (hours < pause.first + pause.hours)
            shares[inside, self.shape.slices.index(pause.slice)] = 0.0
        return shares

    def span(self, *, first: int, days: int) -> Span:
        """What fired from this hour on."""
        fired = [one for one in self.watched.fired() if one.hour >= first]
        for_nothing = [one for one in fired if not self._explained(one)]
        return Span(
            days=days,
            alarms=[one.hour - first for one in for_nothing],
            hours_open=sum(one.hours_open for one in for_nothing),
            explained=len(fired) - len(for_nothing),
            interruptions=sum(pause.first >= first for pause in self.interruptions),
        )

    def _explained(self, fired: Fired) -> bool:
        """Only slices that really stopped drifted."""
        stopped = {pause.slice for pause in self.interruptions if pause.explains(fired.hour)}
        return bool(fired.series) and {name for name, _ in fired.series} <= stopped
