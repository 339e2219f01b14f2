"""How often is somebody called for nothing, and how soon is a real change found at that price?

One made-up year (``alarm_world``), judged hour by hour with thresholds that were calibrated on the four weeks before it; then the
ladder of real changes, each in a slice drawn anew with a reference of its own, against the same thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.special import ndtri
from scipy.stats import beta, chi2

from flywheel.alerts.alert import Alert, AlertState, Severity
from flywheel.alerts.facts import Finding, WindowFacts
from flywheel.alerts.lifecycle import AlertPolicy, Move, advance
from flywheel.drift.budget import GENERAL, PROTECTED, SHARE_COLUMN, SHARES, BudgetPolicy, Thresholds, standing_strength
from flywheel.drift.null_runs import NullSource, ReferenceWindows, calibrate
from flywheel.drift.seasons import Season, SeasonPolicy, like_hours, profile_of, sliding_sums
from flywheel.ids import WorkloadId
from flywheel.traffic.column import Column
from tests.benchmarks.alarm_world import BY_NAME, FIRST_DAY, INPUTS, LARGE, NAMES, OUTPUTS, SMALL, Hourly, Sessions, World
from tests.benchmarks.alarm_world import PROTECTED as SHIELDED
from tests.benchmarks.figures import Figure, at_least, at_most, report, soak
from tests.benchmarks.novelty import novelty_figures
from tests.benchmarks.pictures import Line, draw

SEED = 20_261_122
WEEKS_BEFORE = 4
DAYS = 365 if soak() else 14
RUNS = 600 if soak() else 60
POLICY = BudgetPolicy()
SEASONS = SeasonPolicy()
FIRST_HOUR = FIRST_DAY * 24
LONGEST = max(POLICY.lengths)
ALERTS = AlertPolicy(resolve_after=timedelta(hours=6))
MEMBERS = np.isin(np.asarray(NAMES), np.asarray(SHIELDED))
ALL = np.ones(len(NAMES), dtype=bool)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One step of the ladder."""

    name: str
    column: str
    rank: int
    family: str
    moved: float  # on the normal scale of the column
    within: int  # hours


def _rate_moved(before: float, after: float) -> float:
    return float(ndtri(after) - ndtri(before))


LADDER = (
    Change(name="0.3 sigma, 567 rows an hour, within 2 h", column="prompt_length", rank=LARGE, family=GENERAL, moved=0.3, within=2),
    Change(
        name="refusal 3 to 6 %, 567 rows an hour, within 4 h",
        column="refusal",
        rank=LARGE,
        family=GENERAL,
        moved=_rate_moved(0.03, 0.06),
        within=4,
    ),
    Change(
        name="protected, 57 rows an hour: 0.5 sigma within 6 h", column="prompt_length", rank=SMALL, family=PROTECTED, moved=0.5, within=6
    ),
    Change(
        name="protected, 57 rows an hour: refusal 3 to 8 % within 12 h",
        column="refusal",
        rank=SMALL,
        family=PROTECTED,
        moved=_rate_moved(0.03, 0.08),
        within=12,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """Thresholds of inputs (four weeks), of outputs with one week, and of outputs in the days after a promotion."""

    before: Hourly
    inputs: Thresholds
    outputs: Thresholds
    young: Thresholds


def calibrated(sessions: Sessions) -> Calibrated:
    world = World(seed=SEED, sessions=sessions)
    days = [world.hours(FIRST_HOUR + 24 * day, 24) for day in range(7 * WEEKS_BEFORE)]
    before = _with_shares({name: np.concatenate([day[name] for day in days]) for name in days[0]})
    return Calibrated(
        before=before,
        inputs=_calibrate(before, INPUTS, FIRST_HOUR, NullSource()),
        outputs=_calibrate(before, OUTPUTS, FIRST_HOUR, NullSource(days=7)),
        young=_calibrate(before, OUTPUTS, FIRST_HOUR, NullSource(season=Season.POOLED_DAYS, days=1)),
    )


def _with_shares(hourly: Hourly) -> Hourly:
    """Beside the columns, each slice's rows among all."""
    own = hourly[INPUTS[0].name].sum(axis=-1)
    return {**hourly, SHARE_COLUMN.name: np.stack([own.sum(axis=1, keepdims=True) - own, own], axis=-1)}


def _calibrate(hourly: Hourly, columns: Sequence[Column], first_hour: int, source: NullSource) -> Thresholds:
    wanted = [column.name for column in columns] + ([SHARE_COLUMN.name] if columns is INPUTS else [])
    windows = ReferenceWindows(first_hour=first_hour, slices=NAMES, counts={name: hourly[name] for name in wanted})
    return calibrate(windows, POLICY, SEED, columns=columns, protected=SHIELDED, source=source, seasons=SEASONS)


def share_found(change: Change, thresholds: Thresholds, *, weeks: int, sessions: Sessions, seed: int) -> NDArray[np.int64]:
    """Hours from the change to the first alarm of its column in each run; a large number where none came in time."""
    column = BY_NAME[change.column].column
    world = World(seed=seed, sessions=sessions, slices=np.array([change.rank]), steady=True)
    chance = np.random.default_rng(seed + 1)
    hours = weeks * 7 * 24
    found = np.full(RUNS, 999)
    for run in range(RUNS):
        past = world.hours(FIRST_HOUR, hours, columns=(change.column,))[change.column]
        starts = FIRST_HOUR + hours + int(chance.integers(LONGEST, 7 * 24))
        quiet = world.hours(starts - LONGEST, LONGEST, columns=(change.column,))[change.column]
        loud = world.hours(starts, change.within, columns=(change.column,), moved={change.column: change.moved})[change.column]
        series = np.concatenate([quiet, loud])
        profile = profile_of(past, first_hour=FIRST_HOUR)
        for length in POLICY.lengths:
            now = sliding_sums(series, length)[LONGEST:]
            before = like_hours(profile, first_hour=starts, hours=change.within, length=length, policy=SEASONS)
            strength = _strength(now, before, column, thresholds, length, change.family)[:, 0]
            passed = np.flatnonzero(strength >= thresholds.strengths[length, change.family, column.measure])
            if passed.size:
                found[run] = min(found[run], int(passed[0]) + 1)
    return found


def _strength(
    now: NDArray[np.int64], before: NDArray[np.int64], column: Column, thresholds: Thresholds, length: int, family: str
) -> NDArray[np.float64]:
    rule = thresholds.rule(hours=length, family=family, column=column)
    return standing_strength(now, before, column, spread=rule.spread, floor=rule.floor, minimum_rows=rule.minimum_rows)


@dataclass(frozen=True, kw_only=True)
class Year:
    """What a run of days gave."""

    days: int
    pages: int
    hours_open: int
    weeks: Sequence[int]  # pages in each

    @property
    def a_day(self) -> float:
        return self.pages / self.days

    @property
    def bound(self) -> float:
        """Upper 95 % bound of a Poisson rate (Garwood 1936)."""
        return float(chi2.ppf(0.95, 2 * (self.pages + 1)) / 2 / self.days)


class Judging:
    """Thresholds and what windows are compared with; the like hours of a week are the same every week."""

    def __init__(self, before: Hourly, columns: Sequence[Column], thresholds: Thresholds, *, first_hour: int) -> None:
        self.columns, self.thresholds = columns, thresholds
        self._profiles = {column.name: profile_of(before[column.name], first_hour=first_hour) for column in columns}
        self._like: dict[tuple[str, int, int], NDArray[np.int64]] = {}

    def like(self, column: Column, length: int, hour: int) -> NDArray[np.int64]:
        key = (column.name, length, hour // 24 % 7)
        if key not in self._like:
            found = like_hours(self._profiles[column.name], first_hour=hour, hours=24, length=length, policy=SEASONS)
            self._like[key] = found.astype(np.int32)
        return self._like[key]

    def alarms(self, series: Hourly, hour: int, *, since: Hourly | None = None) -> NDArray[np.bool_]:
        """Which of the day's hours pass a threshold. ``since``: outputs of the whole days since the promotion, in place of like hours."""
        found = np.zeros(24, dtype=bool)
        for column in self.columns:
            for length in POLICY.lengths:
                now = sliding_sums(series[column.name], length)[LONGEST:]
                before = self.like(column, length, hour) if since is None else _since_promotion(since[column.name], length)
                for family, members in ((SHARES, ALL),) if column is SHARE_COLUMN else ((GENERAL, ~MEMBERS), (PROTECTED, MEMBERS)):
                    strength = _strength(now[:, members], before[:, members], column, self.thresholds, length, family)
                    found |= (strength >= self.thresholds.strengths[length, family, column.measure]).any(axis=1)
        return found


def years(made: Calibrated, sessions: Sessions, *, seed: int) -> tuple[Year, Year]:
    """The same inputs beside outputs of a champion that is replaced every week, and of one that stays."""
    names = tuple(column.name for column in OUTPUTS)
    changing, staying = World(seed=seed, sessions=sessions), World(seed=seed + 1, sessions=sessions)
    week = {name: held[-7 * 24 :] for name, held in made.before.items()}
    inputs = Judging(made.before, (*INPUTS, SHARE_COLUMN), made.inputs, first_hour=FIRST_HOUR)
    outputs = Judging(week, OUTPUTS, made.outputs, first_hour=FIRST_HOUR + 21 * 24)
    young = Judging(week, OUTPUTS, made.young, first_hour=FIRST_HOUR + 21 * 24)
    yesterday = {name: held[-LONGEST:] for name, held in made.before.items()}
    yesterday_staying = {name: yesterday[name] for name in names}
    since: Hourly = {}
    alarms = np.zeros((2, DAYS * 24), dtype=bool)
    for day in track(range(DAYS), description=f"{DAYS} days, {sessions}"):
        hour = (FIRST_DAY + 7 * WEEKS_BEFORE + day) * 24
        here = slice(day * 24, day * 24 + 24)
        today, today_staying = _with_shares(changing.hours(hour, 24, version=day // 7 + 1)), staying.hours(hour, 24, columns=names)
        series, series_staying = _joined(yesterday, today), _joined(yesterday_staying, today_staying)
        alarms[:, here] = inputs.alarms(series, hour)
        alarms[1, here] |= outputs.alarms(series_staying, hour)
        since = {} if day % 7 == 0 else since
        if since:  # before that the champion's answers are being learnt
            alarms[0, here] |= young.alarms(series, hour, since=since)
        since = {name: np.concatenate([since[name], today[name]]) if since else today[name] for name in names}
        yesterday, yesterday_staying = today, today_staying
    return _year(alarms[0]), _year(alarms[1])


def _joined(yesterday: Hourly, today: Hourly) -> Hourly:
    return {name: np.concatenate([yesterday[name], held]) for name, held in today.items()}


def _since_promotion(since: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """All whole days before today, without the hours that today's windows reach back into: [24, slices, bins]."""
    total = np.concatenate([np.zeros((1, *since.shape[1:]), dtype=np.int64), np.cumsum(since, axis=0)])
    ends = np.minimum(len(since), np.maximum(0, len(since) + np.arange(24) + 1 - length))
    return np.asarray(total[ends])


def _year(alarms: NDArray[np.bool_]) -> Year:
    """Incidents opened, and hours in which one was open, by the alert desk's own rule."""
    alert: Alert | None = None
    hours_open = 0
    weeks = [0] * (len(alarms) // (7 * 24) + 1)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for hour, alarm in enumerate(alarms):
        if not alarm and (alert is None or alert.state is AlertState.RESOLVED):
            continue
        hours_open += 1
        now = start + timedelta(hours=hour)
        facts = WindowFacts(
            workload=WorkloadId("made-up"),
            window=f"w{hour}",
            at=now,
            finding=Finding.MOVED if alarm else Finding.QUIET,
            severity=Severity.WARNING,
            summary="",
            first_action="",
        )
        step = advance(alert=alert, facts=facts, policy=ALERTS, now=now)
        while step.move is not Move.NONE:
            weeks[hour // (7 * 24)] += step.move is Move.FIRED
            alert = step.alert
            step = advance(alert=alert, facts=facts, policy=ALERTS, now=now)
    return Year(days=len(alarms) // 24, pages=sum(weeks), hours_open=hours_open, weeks=weeks)


def _ladder_figures(made: Calibrated, sessions: Sessions) -> tuple[list[Figure], dict[str, Line]]:
    figures, curves = [], {}
    for place, change in enumerate(LADDER):
        is_input = BY_NAME[change.column].column in INPUTS
        found = share_found(
            change,
            made.inputs if is_input else made.outputs,
            weeks=WEEKS_BEFORE if is_input else 1,
            sessions=sessions,
            seed=SEED + 100 * place,
        )
        hits = int((found <= change.within).sum())
        low = float(beta.ppf(0.025, hits, RUNS - hits + 1)) if hits else 0.0
        figures.append(
            at_least(
                95.0,
                name=f"{change.name} ({_SAID[sessions]})",
                value=100 * hits / RUNS,
                unit="% of runs",
                peer=f"95 % interval from {100 * low:.0f} %",
                n=RUNS,
                reason=_WHY[change.column] if sessions is Sessions.ANSWERS or change.column not in ("refusal",) else _WHY_MILD,
            )
        )
        hours = list(range(1, change.within + 1))
        curves[change.name] = Line(x=hours, y=[float((found <= hour).mean()) for hour in hours])
    return figures, curves


_SAID = {Sessions.ANSWERS: "the answers themselves have ICC 0.2", Sessions.DISPOSITION: "ICC 0.2 behind the answers"}
_WHY = {
    "prompt_length": "sessions of 8 at ICC 0.2 leave 42 % of the rows' information; the budget asks for more than 4 standard deviations",
    "refusal": "sessions of 8 at ICC 0.2 leave 42 % of the rows' information, and refusals that come eight at a time have a heavy tail; "
    "counting the first refusal of a session instead finds no more (decision 0006)",
}
_WHY_MILD = "few refusals at a budget whose threshold lies between 4 and 5 standard deviations"


def main() -> None:
    """Prints the table and writes the pictures."""
    figures: list[Figure] = []
    for sessions in (Sessions.ANSWERS, Sessions.DISPOSITION) if soak() else (Sessions.ANSWERS,):
        made = calibrated(sessions)
        ladder, curves = _ladder_figures(made, sessions)
        for said, one in zip(
            ("a promotion every week", "no promotion, output reference of one week"), years(made, sessions, seed=SEED + 7), strict=True
        ):
            name = f"pages a day, {said} ({_SAID[sessions]})"
            short = "" if soak() else f"{DAYS} days are too few for the bound"
            figures.append(
                at_most(
                    0.2,
                    name=f"{name}, upper 95 % bound",
                    value=one.bound,
                    unit="a day",
                    n=DAYS,
                    peer=f"measured {one.a_day:.3f} a day, {one.hours_open} hours open",
                    reason=short,
                )
            )
            if sessions is Sessions.ANSWERS and said.startswith("a promotion"):
                weeks = list(range(1, len(one.weeks) + 1))
                draw(
                    "alarms-pages",
                    title="Pages for nothing: a made-up year without any real change",
                    across="week",
                    up="pages since the first day",
                    lines={
                        "measured": Line(x=weeks, y=np.cumsum(one.weeks).tolist()),
                        "0.2 a day": Line(x=weeks, y=[1.4 * w for w in weeks]),
                    },
                )
        figures += ladder
        draw(
            f"alarms-ladder-{sessions}",
            title=f"Real changes found, {_SAID[sessions]}",
            across="hours since the change",
            up="share of runs",
            lines=curves,
            goals={"95 %": 0.95},
            percent=True,
        )
    figures += novelty_figures()
    report("alarms", figures, seeds=[SEED, SEED + 7])


if __name__ == "__main__":
    main()
