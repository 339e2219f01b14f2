"""Which part of the false-alarm budget should each window length get? Prints an allocation; it changes nothing.

In the tuning world alone: what is published is measured in another (``bench_alarms``).

1. Simulated runs of each change of the ladder give the z-score that each window length reaches in time. They go through the daemon's own
   steps, with thresholds near zero, so that every length is reported.
2. Calibrations of the whole workload give the threshold of each length for some parts of the budget.
3. Each length gets a small part first, for changes that are larger or that last. The rest is dealt out in small steps, each to the
   length where it adds most to the sum over the changes of log(share of runs that find it).

Only numbers and rates are dealt anew: the ladder has no change of names or of slices' shares, whose parts stay. Run it by
``FLYWHEEL_SOAK=1 python -m tests.benchmarks.tune_alpha_allocation``, some minutes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from flywheel.drift.alarm_budget import ALPHA_ALLOCATION, BudgetPolicy
from flywheel.drift.tests import z_score
from flywheel.drift.thresholds import GENERAL, PROTECTED, CalibratedThresholds
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.traffic.column import Measure
from tests.benchmarks.alarm_ladder import LADDER, Change, Past, after_change, calibrated, rest_of
from tests.benchmarks.alarm_watch import HOUR, LONGEST, WORKLOAD
from tests.benchmarks.alarm_world import BY_NAME, TUNING, Sessions, World
from tests.benchmarks.figures import soak
from tests.benchmarks.quiet_logs import only_errors

RUNS = 300 if soak() else 60
PARTS = (0.002, 0.01, 0.05, 0.25)
DAYS_OF_INPUTS, DAYS_OF_ANSWERS = 28, 7  # that the references have seen
LEAST = 0.004  # of each length
STEP = 0.002
SOFT = 0.3  # standard deviations over which a run counts as found, so that small steps show
LENGTHS = BudgetPolicy().lengths
Allocation = Mapping[str, Mapping[Measure, Mapping[int, float]]]


@dataclass(frozen=True, kw_only=True)
class Known:
    """One change of the ladder: its z-scores in time [runs, lengths], and thresholds [parts, lengths] of its family and measure."""

    family: str
    measure: Measure
    z: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    def found(self, parts: NDArray[np.float64]) -> float:
        """The share of runs that these parts [lengths] find."""
        passed = [self.z[:, at] - np.interp(np.log(part), np.log(PARTS), self.thresholds[:, at]) for at, part in enumerate(parts.tolist())]
        return float(ndtr(np.max(passed, axis=0) / SOFT).mean())


def z_in_time(change: Change, before: Past, *, sessions: Sessions, seed: int, runs: int) -> NDArray[np.float64]:
    """[runs, lengths]: the largest z-score of the change's columns that each window length reaches within the change's hours."""
    near_zero = replace(before.thresholds, z_scores=dict.fromkeys(before.thresholds.z_scores, 0.01))
    world = World(TUNING, seed=seed, sessions=sessions, columns=(change.column,), steady=True)
    rng = np.random.default_rng(seed + 1)
    found = np.zeros((runs, len(LENGTHS)))
    for run in range(runs):
        start = int(rng.integers(LONGEST, 7 * 24))
        for watched, _ in after_change(change, replace(before, thresholds=near_zero), TUNING, world, start=start):
            for verdict in watched.ledger.windows(WORKLOAD, limit=1)[0].verdicts:
                if (
                    verdict.slice == watched.traffic.slices[0]
                    and verdict.column in change.series
                    and verdict.status is DriftStatus.DRIFTING
                ):
                    at = LENGTHS.index((verdict.window_end - verdict.window_start) // HOUR)
                    found[run, at] = max(found[run, at], _z_of(verdict, change))
    return found


def _z_of(verdict: DriftVerdict, change: Change) -> float:
    assert verdict.comparison is not None  # it drifts
    one_sided = BY_NAME[change.column].column.measure is Measure.RATE
    return float(z_score(np.asarray(verdict.comparison.score), one_sided=one_sided))


def thresholds_by_part(*, days: int, sessions: Sessions) -> Mapping[float, CalibratedThresholds]:
    """One calibration for each part of the budget, which every window length, family and measure gets alike."""
    cells = sum(len(lengths) for measures in ALPHA_ALLOCATION.values() for lengths in measures.values())
    even = {
        family: {measure: dict.fromkeys(lengths, 1 / cells) for measure, lengths in held.items()}
        for family, held in ALPHA_ALLOCATION.items()
    }
    usual = BudgetPolicy().alarms_a_day
    return {
        part: calibrated(
            TUNING,
            days=days,
            sessions=sessions,
            seed=TUNING.seed + days,
            budget=BudgetPolicy(alarms_a_day=usual * part * cells, allocation=even),
        )
        for part in PARTS
    }


def known(change: Change, *, days: int, by_part: Mapping[float, CalibratedThresholds], sessions: Sessions) -> Known:
    """What the runs of a change reach, beside the thresholds of its family and measure."""
    family, measure = PROTECTED if change.protected else GENERAL, BY_NAME[change.column].column.measure
    seed = TUNING.seed + 1_000 * (1 + LADDER.index(change))
    before = Past(days=days, thresholds=by_part[PARTS[0]], rest=rest_of(TUNING, days=days, sessions=sessions, seed=seed))
    return Known(
        family=family,
        measure=measure,
        z=z_in_time(change, before, sessions=sessions, seed=seed + 1, runs=RUNS),
        thresholds=np.array([[held.z_scores[length, family, measure] for length in LENGTHS] for held in by_part.values()]),
    )


def dealt(changes: list[Known]) -> list[NDArray[np.float64]]:
    """Parts [lengths] for each change's family and measure, which together spend what the same ones spend today."""
    parts = [np.full(len(LENGTHS), LEAST) for _ in changes]
    total = sum(sum(ALPHA_ALLOCATION[one.family][one.measure].values()) for one in changes)
    for _ in range(round((total - sum(held.sum() for held in parts)) / STEP)):
        gains = [
            (np.log(one.found(held + STEP * (np.arange(len(LENGTHS)) == at))) - np.log(one.found(held)), place, at)
            for place, (one, held) in enumerate(zip(changes, parts, strict=True))
            for at in range(len(LENGTHS))
        ]
        _, place, at = max(gains)
        parts[place][at] += STEP
    return parts


def main() -> None:
    """Prints today's parts and the tuned ones, with what each finds in the tuning world."""
    only_errors()
    sessions = Sessions.ANSWERS
    by_part = {days: thresholds_by_part(days=days, sessions=sessions) for days in (DAYS_OF_INPUTS, DAYS_OF_ANSWERS)}
    changes = []
    for change in LADDER:
        days = DAYS_OF_INPUTS if change.is_input else DAYS_OF_ANSWERS
        changes.append(known(change, days=days, by_part=by_part[days], sessions=sessions))
    for change, one, tuned in zip(LADDER, changes, dealt(changes), strict=True):
        today = np.array([ALPHA_ALLOCATION[one.family][one.measure][length] for length in LENGTHS])
        print(f"{change.name}: {one.family}, {one.measure.value}, windows of {LENGTHS} h")
        print(f"  today {np.round(today, 3).tolist()} finds {one.found(today):.1%}")
        print(f"  tuned {np.round(tuned, 3).tolist()} finds {one.found(tuned):.1%}")


if __name__ == "__main__":
    main()
