"""How often does an alarm fire for nothing, and how soon does one fire at a real change?

The daemon's own steps watch a simulated workload (``alarm_watch``) over a year in which nothing drifts, and over a workload's first four
weeks; then the ladder of real changes (``alarm_ladder``), and how a reference's age moves it. All of it in the reporting world, in which
nothing was tuned. New kinds of requests, seen by their embeddings, are ``bench_novelty``'s.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy.stats import beta

from flywheel.drift.alarm_budget import BudgetPolicy
from tests.benchmarks.alarm_ladder import LADDER, Change, alarms_over, past
from tests.benchmarks.alarm_watch import Life, Span
from tests.benchmarks.alarm_world import FIRST_HOUR, REPORTING, Sessions, WorldShape
from tests.benchmarks.figures import Figure, at_least, at_most, report, soak
from tests.benchmarks.pictures import Line, draw
from tests.benchmarks.quiet_logs import only_errors

DAYS_BEFORE = 28  # recorded before the daemon starts
DAYS_OF_ANSWERS = 7  # of these, those since the last promotion
DAYS = 365 if soak() else 7
FIRST_WEEKS = 28 if soak() else 4  # days
STARTS = 5 if soak() else 1  # of a workload, each on another day of the week
RUNS = 400 if soak() else 20
PASTS = 4 if soak() else 1  # calibrations of each kind
AGES = (1, 2, 4, 7, 14, 28) if soak() else (2,)  # whole days that a reference has seen
RUNS_AN_AGE = 100 if soak() else 10
INPUTS = tuple(change for change in LADDER if change.is_input)
ANSWERS = tuple(change for change in LADDER if not change.is_input)
KINDS = (Sessions.ANSWERS, Sessions.DISPOSITION) if soak() else (Sessions.ANSWERS,)
KINDS_OF_YEARS = (Sessions.ANSWERS,)  # the harder of the two; a simulated year takes a quarter of an hour
CHANGING, STAYING, NEW = (
    "a promotion every week",
    "no promotion, output reference of one week at first",
    "the first four weeks of a workload",
)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Everything that was measured under one reading of what the rows of a session have in common."""

    spans: dict[str, Span]
    found: dict[str, list[int]]  # change -> hours in each run


def year(
    shape: WorldShape,
    *,
    promotions: bool,
    sessions: Sessions,
    seed: int,
    before: int = DAYS_BEFORE,
    days: int = DAYS,
    budget: BudgetPolicy | None = None,
) -> Span:
    """The daemon starts when ``before`` days are recorded. ``promotions``: another champion answers every week; else the last one stays."""
    only_errors()
    life = Life(shape, seed=seed, sessions=sessions, budget=budget)
    first = FIRST_HOUR + 24 * before
    for day in range(before):
        week = 0 if day < before - DAYS_OF_ANSWERS else 1
        life.day(FIRST_HOUR + 24 * day, version=week, look=False)
    life.watched.champion("champion-1", since=first - 24 * DAYS_OF_ANSWERS)
    for day in range(days):
        week = 2 + day // 7 if promotions else 1
        if promotions and day % 7 == 0:
            life.watched.champion(f"champion-{week}", since=first + 24 * day)
        life.day(first + 24 * day, version=week)
    return life.span(first=first, days=days)


def first_weeks(
    shape: WorldShape, *, start: int, sessions: Sessions, seed: int, days: int = FIRST_WEEKS, budget: BudgetPolicy | None = None
) -> Span:
    """Nothing is known at first; the daemon pins days as it sees them. ``start``: on which day of the week traffic begins, Monday 0."""
    only_errors()
    life = Life(shape, seed=seed, sessions=sessions, budget=budget)
    first = FIRST_HOUR + 24 * start
    life.watched.champion("champion-0", since=first - 24)
    for day in range(days):
        life.day(first + 24 * day)
    return life.span(first=first, days=days)


def joined(spans: Sequence[Span]) -> Span:
    """One after the other."""
    before = np.cumsum([0, *(span.days for span in spans)]).tolist()
    return Span(
        days=before[-1],
        alarms=[hour + 24 * days for days, span in zip(before, spans, strict=False) for hour in span.alarms],
        hours_open=sum(span.hours_open for span in spans),
        explained=sum(span.explained for span in spans),
        interruptions=sum(span.interruptions for span in spans),
    )


def ladder(
    shape: WorldShape,
    changes: Sequence[Change],
    *,
    days: int,
    sessions: Sessions,
    seed: int,
    pasts: int,
    runs: int,
    budget: BudgetPolicy | None = None,
) -> dict[str, list[int]]:
    """Change -> hours until the alarm, in each run. ``days``: that the reference has seen; ``pasts``: calibrations that share the runs."""
    only_errors()
    held = [past(shape, days=days, sessions=sessions, seed=seed + 1_000 * at, budget=budget) for at in range(pasts)]
    return {
        change.name: alarms_over(change, held, shape, sessions=sessions, seed=seed + 10_000 * (place + 1), runs=runs).tolist()
        for place, change in enumerate(changes)
    }


def measured(processes: ProcessPoolExecutor, shape: WorldShape) -> tuple[dict[Sessions, Reading], dict[str, list[float]]]:
    """All readings; and for each change the share of runs in which a reference of so many days (``AGES``) finds it."""
    years: dict[tuple[Sessions, str], list[Future[Span]]] = {}
    found: dict[Sessions, list[Future[dict[str, list[int]]]]] = {}
    kinds = [(DAYS_BEFORE, INPUTS), (DAYS_OF_ANSWERS, ANSWERS)]
    for at, sessions in enumerate(KINDS_OF_YEARS):  # the longest first
        seed = shape.seed + 100 * at
        for name, promotions, more in ((CHANGING, True, 7), (STAYING, False, 8)):
            years[sessions, name] = [processes.submit(year, shape, promotions=promotions, sessions=sessions, seed=seed + more)]
    for at, sessions in enumerate(KINDS):
        seed = shape.seed + 100 * at
        if sessions in KINDS_OF_YEARS:
            years[sessions, NEW] = [
                processes.submit(first_weeks, shape, start=start, sessions=sessions, seed=seed + 50 + start) for start in range(STARTS)
            ]
        found[sessions] = [
            processes.submit(ladder, shape, changes, days=days, sessions=sessions, seed=seed + days, pasts=PASTS, runs=RUNS)
            for days, changes in kinds
        ]
    sessions = Sessions.DISPOSITION
    ages = {
        days: [
            processes.submit(
                ladder, shape, changes, days=days, sessions=sessions, seed=shape.seed + 500_000 + days, pasts=1, runs=RUNS_AN_AGE
            )
            for _, changes in kinds
        ]
        for days in AGES
    }
    readings = {
        sessions: Reading(
            spans={name: joined([one.result() for one in spans]) for (kind, name), spans in years.items() if kind is sessions},
            found={name: hours for one in found[sessions] for name, hours in one.result().items()},
        )
        for sessions in KINDS
    }
    by_age = {days: {name: hours for one in ages[days] for name, hours in one.result().items()} for days in AGES}
    return readings, {
        change.name: [float((np.array(by_age[days][change.name]) <= change.within).mean()) for days in AGES] for change in LADDER
    }


def _alarm_figures(reading: Reading, sessions: Sessions) -> list[Figure]:
    figures = [
        at_most(
            0.2,
            name=f"alarms a day, {said} ({_SAID[sessions]}), upper 95 % bound",
            value=span.bound,
            unit="a day",
            n=span.days,
            peer=f"measured {span.a_day:.3f} a day over {span.days} days, {span.hours_open} hours open",
            reason="" if soak() else f"{span.days} days are too few for the bound",
        )
        for said, span in reading.spans.items()
    ]
    told, stopped = (sum(getattr(span, name) for span in reading.spans.values()) for name in ("explained", "interruptions"))
    if stopped:
        figures.append(
            Figure(
                name=f"alarms at slices that stopped for 6 to 36 hours ({_SAID[sessions]})",
                value=told,
                unit="alarms",
                n=stopped,
                peer=f"{stopped} slices of any size stopped; these alarms are not counted above",
            )
        )
    return figures


def _ladder_figures(reading: Reading, sessions: Sessions) -> list[Figure]:
    figures = []
    for change in LADDER:
        found = np.array(reading.found[change.name])
        hits = int((found <= change.within).sum())
        low = float(beta.ppf(0.025, hits, len(found) - hits + 1)) if hits else 0.0
        figures.append(
            at_least(
                95.0,
                name=f"{change.name} ({_SAID[sessions]})",
                value=100 * hits / len(found),
                unit="% of runs",
                peer=f"95 % interval from {100 * low:.0f} %",
                n=len(found),
                reason=_WHY[change.column],
            )
        )
    return figures


def _draw_alarms(spans: dict[str, Span]) -> None:
    lines = {said: Line(x=list(range(1, len(span.by_week) + 1)), y=span.by_week) for said, span in spans.items() if said != NEW}
    weeks = list(range(1, DAYS // 7 + 2))
    draw(
        "alarms-year",
        title="Alarms in a simulated year without any real change",
        across="week",
        up="alarms since the first day",
        lines={**lines, "0.2 a day": Line(x=weeks, y=[1.4 * week for week in weeks])},
    )


def _draw_ladder(reading: Reading, sessions: Sessions) -> None:
    draw(
        f"alarms-ladder-{sessions}",
        title=f"Real changes found, {_SAID[sessions]}",
        across="hours since the change",
        up="share of runs",
        lines={
            change.name: Line(
                x=list(range(1, change.within + 1)),
                y=[float((np.array(reading.found[change.name]) <= hour).mean()) for hour in range(1, change.within + 1)],
            )
            for change in LADDER
        },
        goals={"95 %": 0.95},
        percent=True,
    )


def _draw_ages(found: dict[str, list[float]]) -> None:
    draw(
        "alarms-reference-age",
        title=f"What a reference finds, by the days it has seen ({_SAID[Sessions.DISPOSITION]})",
        across="whole days in the reference",
        up="share of runs",
        lines={name: Line(x=list(AGES), y=shares) for name, shares in found.items()},
        goals={"95 %": 0.95},
        logarithmic=True,
        percent=True,
    )


def _age_figures(found: dict[str, list[float]]) -> list[Figure]:
    return [
        Figure(
            name=f"{name}: reference of {AGES[0]} day" + ("" if AGES[0] == 1 else "s"),
            value=100 * shares[0],
            unit="% of runs",
            n=RUNS_AN_AGE,
            peer=", ".join(f"{days} days {100 * share:.0f} %" for days, share in zip(AGES[1:], shares[1:], strict=True)),
        )
        for name, shares in found.items()
    ]


_SAID = {Sessions.ANSWERS: "the answers themselves have ICC 0.2", Sessions.DISPOSITION: "ICC 0.2 behind the answers"}
_WHY = {
    "prompt_chars": "sessions of 8 at ICC 0.2 leave 42 % of the rows' information; the budget asks for more than 4 standard deviations",
    "refusal": "few refusals, at thresholds of 4 to 5 standard deviations; rows and first failures are both judged",
}


NOTES = (
    "A year, or four weeks, of a simulated workload in which nothing drifts. The drift monitor's and the alert service's own steps "
    "run hour by hour; an alarm is an alert that fired. The workload has 48 slices, 5 of them protected, of 11 to 1,800 rows an hour;"
    " all counted columns; two peaks a day and quiet weekends; bursts; rows that come late; a slice that comes about once a month for"
    " some days; sessions of 8 rows. A change of the ladder counts as found when an alarm fires that names its slice, and its column "
    "or that column's first failures.",
    "Up to commit 966c45d this table came from a second implementation of the watch, in the world in which the alpha allocation had "
    "been tuned (200 slices, 12 columns, one sine a day). Different since: the daemon pins by itself, so a reference that starts with"
    " a week of answers grows to four; a window is judged only against 50 rows of the reference; alerts have their clearing band; "
    "windows with two champions judge no answers; late rows are judged again; slices come, stop and come back.",
)


def main() -> None:
    """Prints the table and writes the pictures."""
    with ProcessPoolExecutor(2) as processes:
        readings, ages = measured(processes, REPORTING)
    figures = list(chain(*map(_alarm_figures, readings.values(), readings), *map(_ladder_figures, readings.values(), readings)))
    figures += _age_figures(ages)
    first = next(iter(readings.values()))
    _draw_alarms(first.spans)
    for sessions, reading in readings.items():
        _draw_ladder(reading, sessions)
    _draw_ages(ages)
    report("alarms", figures, seeds=[REPORTING.seed], notes=NOTES)


if __name__ == "__main__":
    main()
