"""Outcomes of sessions as columns: the guards judge the same sessions alike, whichever way the columns were made."""

from datetime import timedelta

import numpy as np

from flywheel.ids import BASE
from flywheel.rollout.arm_sessions import UNKNOWN, ArmSessions, columns_of
from flywheel.rollout.guards import GuardPolicy, judge_guards
from tests.benchmarks.canary_simulation import Quality, drawn
from tests.unit.rollout.release_stories import NEW, NOW, Seen

POLICY = GuardPolicy(protected=("large", "small"), informative=("corrected", "thumbs_down"))


def simulated() -> ArmSessions:
    rng = np.random.default_rng(3)
    on_canary = rng.random(3_000) < 0.3
    return drawn(on_canary, canary=Quality(format=0.05, took=1.5), control=Quality(), rng=rng)


def known(value: int) -> bool | None:
    return None if value == UNKNOWN else bool(value)


def as_outcomes(sessions: ArmSessions) -> list[Seen]:
    outcomes = []
    for at in range(sessions.session.size):
        bad_format = known(int(sessions.bad_format[at]))
        signals = {name: known(int(values[at])) for name, values in sessions.signals.items()}
        outcomes.append(
            Seen(
                session=f"session-{sessions.session[at]}",
                adapter=sessions.adapters[sessions.adapter[at]],
                at=NOW + timedelta(seconds=at),
                ok=not sessions.failed[at],
                valid_format=None if bad_format is None else not bad_format,
                refused=known(int(sessions.refused[at])),
                latency_ms=float(sessions.latency_ms[at]),
                slices=tuple(name for name, inside in sessions.in_slice.items() if inside[at]),
                signals={name: bad for name, bad in signals.items() if bad is not None},
            )
        )
    return outcomes


def test_simulated_columns_are_judged_like_the_outcomes_they_stand_for() -> None:
    drawn_columns = simulated()
    outcomes = as_outcomes(drawn_columns)[::-1]
    made = columns_of(outcomes, slices=POLICY.protected, signals=POLICY.informative)
    challenger, champion = drawn_columns.adapters[1], BASE
    direct = judge_guards(sessions=drawn_columns, challenger=challenger, champion=champion, policy=POLICY)
    assert judge_guards(sessions=made, challenger=challenger, champion=champion, policy=POLICY) == direct
    assert any(verdict.e_value is not None and verdict.e_value > 1 for verdict in direct)


def test_sessions_of_a_step_are_counted_from_its_beginning() -> None:
    sessions = columns_of([Seen(session=str(n), adapter=NEW if n % 2 else BASE, at=NOW + timedelta(seconds=n)) for n in range(20)])
    assert sessions.count_since(NEW, NOW) == 10
    assert sessions.count_since(NEW, NOW + timedelta(seconds=11)) == 5
    assert columns_of([]).count_since(NEW, NOW) == 0
