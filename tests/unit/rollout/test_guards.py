"""Is the canary worse than the champion beside it?"""

import pytest
from scipy.stats import fisher_exact

from flywheel.ids import BASE
from flywheel.rollout.guards import GuardPolicy, GuardStatus, GuardVerdict, judge_guards
from tests.unit.rollout.release_stories import NEW, Seen, sessions

POLICY = GuardPolicy(alpha=0.005, minimum_sessions=10)


def judge(outcomes: tuple[Seen, ...], policy: GuardPolicy = POLICY) -> dict[str, GuardVerdict]:
    return {verdict.name: verdict for verdict in judge_guards(outcomes=outcomes, challenger=NEW, champion=BASE, policy=policy)}


def test_broken_format_on_the_canary_is_a_breach() -> None:
    verdict = judge(sessions(NEW, 6, bad_format=19) + sessions(BASE, 24, bad_format=1))["format"]
    assert verdict.status is GuardStatus.BREACHED
    assert verdict.blocking
    assert (verdict.bad, verdict.sessions, verdict.control_bad, verdict.control_sessions) == (19, 25, 1, 25)


@pytest.mark.parametrize(
    ("bad", "n", "control_bad", "control_n"),
    [(0, 10, 0, 10), (3, 12, 1, 30), (10, 10, 0, 40), (5, 20, 20, 25), (20, 20, 30, 30), (61, 900, 300, 8_000)],
)
def test_p_is_the_one_sided_fisher_exact_test(bad: int, n: int, control_bad: int, control_n: int) -> None:
    verdict = judge(sessions(NEW, n - bad, bad_format=bad) + sessions(BASE, control_n - control_bad, bad_format=control_bad))["format"]
    table = [[bad, n - bad], [control_bad, control_n - control_bad]]
    assert verdict.p == pytest.approx(fisher_exact(table, alternative="greater").pvalue)


def test_when_both_arms_fall_alike_nothing_is_breached() -> None:
    verdicts = judge(sessions(NEW, 20, bad_format=20) + sessions(BASE, 20, bad_format=20))
    assert verdicts["format"].status is GuardStatus.HOLDS


def test_a_better_canary_is_never_a_breach() -> None:
    assert judge(sessions(NEW, 50) + sessions(BASE, 10, failed=40))["errors"].status is GuardStatus.HOLDS


def test_too_few_sessions_in_either_arm_are_no_data() -> None:
    assert judge(sessions(NEW, 0, failed=9) + sessions(BASE, 50))["errors"].status is GuardStatus.NO_DATA
    assert judge(sessions(NEW, 0, failed=50) + sessions(BASE, 9))["errors"].status is GuardStatus.NO_DATA
    assert judge(())["format"].status is GuardStatus.NO_DATA


def test_answers_without_a_judged_format_are_no_data_for_the_format_guard_only() -> None:
    unjudged = tuple(Seen(session=f"s{n}", adapter=arm, valid_format=None) for arm in (NEW, BASE) for n in range(30))
    unjudged = tuple(Seen(session=f"{seen.adapter}{seen.session}", adapter=seen.adapter, valid_format=None) for seen in unjudged)
    verdicts = judge(unjudged)
    assert verdicts["format"].status is GuardStatus.NO_DATA
    assert verdicts["errors"].status is GuardStatus.HOLDS


def test_a_workload_without_a_declared_format_has_no_format_guard() -> None:
    assert "format" not in judge(sessions(NEW, 20) + sessions(BASE, 20), GuardPolicy(judges_format=False))


def test_a_session_that_the_champion_had_to_rescue_is_no_control() -> None:
    rescued = tuple(Seen(session=f"{NEW}-failed-{number}", adapter=BASE) for number in range(30))
    verdict = judge(sessions(NEW, 0, failed=30) + rescued + sessions(BASE, 12))["errors"]
    assert verdict.control_sessions == 12
    assert verdict.status is GuardStatus.BREACHED


def test_refusal_may_abort_but_never_holds_up_and_latency_is_only_shown() -> None:
    verdicts = judge(sessions(NEW, 5, refused=20) + sessions(BASE, 25))
    assert verdicts["refusal"].status is GuardStatus.BREACHED
    assert not verdicts["refusal"].blocking
    slow = tuple(Seen(session=f"slow-{number}", adapter=NEW, latency_ms=9_000.0) for number in range(30))
    assert judge(slow + sessions(BASE, 30))["latency"].status is GuardStatus.HOLDS


def test_a_verdict_never_improves_when_an_outcome_gets_worse() -> None:
    previous = 1.1
    for bad in range(31):
        p = judge(sessions(NEW, 30 - bad, bad_format=bad) + sessions(BASE, 55, bad_format=5))["format"].p
        assert p is not None
        assert 0 <= p <= previous
        previous = p
