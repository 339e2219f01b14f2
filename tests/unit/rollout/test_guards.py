"""Is the canary worse than the champion beside it?"""

import math
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.errors import InvalidInput, InvalidSettings
from flywheel.ids import BASE, AdapterName
from flywheel.rollout.guards import GuardAlphas, GuardPolicy, GuardStatus, GuardVerdict, judge_guards
from tests.unit.rollout.release_stories import NEW, NOW, OLD, Seen, columns, sessions

POLICY = GuardPolicy(minimum_sessions=10)
GLOBEX = "tenant=globex"


def judge(outcomes: tuple[Seen, ...], policy: GuardPolicy = POLICY) -> dict[str, GuardVerdict]:
    found = judge_guards(sessions=columns(outcomes, policy), challenger=NEW, champion=BASE, policy=policy)
    return {verdict.name: verdict for verdict in found}


def test_broken_format_is_a_breach_and_the_verdict_says_why() -> None:
    verdict = judge(sessions(NEW, 6, bad_format=19) + sessions(BASE, 47, bad_format=3))["format"]
    assert verdict.status is GuardStatus.BREACHED
    assert verdict.blocking
    assert (verdict.bad, verdict.sessions, verdict.control_bad, verdict.control_sessions) == (19, 25, 3, 50)
    assert verdict.e_value is not None
    assert verdict.needed == pytest.approx(200)
    assert verdict.e_value >= 200
    assert verdict.p == pytest.approx(1 / verdict.e_value)
    assert (verdict.strata, verdict.largest_after) == (7, 70)
    assert verdict.reason.startswith("format: 19 of 25 sessions against 3 of 50 beside it (e-value ")
    assert verdict.reason.endswith("an abort needs 200)")


def by_hand(verdict: GuardVerdict) -> tuple[float, float]:
    """The evidence where it was largest and after the last set, from what is stored and the documented formula alone."""
    largest = last = 0.0
    for t, weight in zip((1.6, 2.4, 3.7, 14.0), (0.2, 0.2, 0.35, 0.25), strict=True):
        product_largest = product_last = 1.0
        for canary, control, bad, canary_bad, up_to_largest, after in verdict.stratum_kinds or ():
            ways = [math.comb(canary, j) * math.comb(control, bad - j) * t**j for j in range(min(canary, bad) + 1)]
            factor = t**canary_bad * math.comb(canary + control, bad) / sum(ways)
            product_largest *= factor**up_to_largest
            product_last *= factor ** (up_to_largest + after)
        largest, last = largest + weight * product_largest, last + weight * product_last
    return largest, last


def test_the_e_value_follows_from_the_stored_strata() -> None:
    breached = judge(sessions(NEW, 6, bad_format=19) + sessions(BASE, 47, bad_format=3))["format"]
    assert by_hand(breached)[0] == pytest.approx(breached.e_value)
    assert sum(kind[4] + kind[5] for kind in breached.stratum_kinds or ()) <= breached.strata
    for seed in range(5):  # up and down again
        draw = random.Random(seed)
        mixed = tuple(
            Seen(
                session=f"{arm}-{n}",
                adapter=arm,
                at=NOW + timedelta(seconds=n),
                valid_format=draw.random() > (0.3 if arm == NEW and n < 100 else 0.1),
            )
            for n in range(900)
            for arm in (draw.choice((NEW, BASE, BASE)),)
        )
        verdict = judge(mixed)["format"]
        assert verdict.e_value is not None
        largest, last = by_hand(verdict)
        assert largest == pytest.approx(verdict.e_value)
        assert last <= largest * (1 + 1e-9)
        assert sum(kind[5] for kind in verdict.stratum_kinds or ()) > 0
    held = judge(sessions(NEW, 40) + sessions(BASE, 60))["format"]
    assert (held.stratum_kinds, held.e_value) == ((), 1.0)  # nobody was bad: no set said anything


def test_when_both_arms_fall_alike_nothing_is_breached() -> None:
    verdicts = judge(sessions(NEW, 20, bad_format=20) + sessions(BASE, 20, bad_format=20))
    assert verdicts["format"].status is GuardStatus.HOLDS


def test_a_better_canary_is_never_a_breach() -> None:
    assert judge(sessions(NEW, 50) + sessions(BASE, 10, failed=40))["errors"].status is GuardStatus.HOLDS


def test_too_few_sessions_in_either_arm_are_no_data() -> None:
    assert judge(sessions(NEW, 0, failed=9) + sessions(BASE, 50))["errors"].status is GuardStatus.NO_DATA
    few_beside = judge(sessions(NEW, 0, failed=50) + sessions(BASE, 9))["errors"]
    assert (few_beside.status, few_beside.p, few_beside.e_value) == (GuardStatus.NO_DATA, None, None)
    assert judge(())["format"].status is GuardStatus.NO_DATA


def test_unjudged_formats_are_no_data_for_the_format_guard_only() -> None:
    unjudged = tuple(replace(one, valid_format=None) for one in sessions(NEW, 30) + sessions(BASE, 30))
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


def test_errors_format_refusal_and_latency_block_and_each_may_abort() -> None:
    beside = sessions(BASE, 50)
    for name, bad in (
        ("errors", sessions(NEW, 5, failed=25)),
        ("format", sessions(NEW, 5, bad_format=25)),
        ("refusal", sessions(NEW, 5, refused=25)),
    ):
        verdicts = judge(bad + beside)
        assert verdicts[name].status is GuardStatus.BREACHED, name
        assert verdicts[name].blocking


def slow(factor: float, n: int = 60) -> tuple[Seen, ...]:
    draw = random.Random(7)
    usual = [100 * math.exp(draw.gauss(0, 0.3)) for _ in range(3 * n)]
    took = zip([*sessions(NEW, n), *sessions(BASE, 2 * n)], usual, strict=True)
    return tuple(replace(one, latency_ms=latency * (factor if one.adapter == NEW else 1.0)) for one, latency in took)


def test_an_adapter_may_be_slower_by_the_policys_factor_only() -> None:
    for factor in (0.5, 1.0, 1.9):
        assert judge(slow(factor))["latency"].status is GuardStatus.HOLDS, factor
    verdict = judge(slow(4.0))["latency"]
    assert verdict.status is GuardStatus.BREACHED
    assert verdict.limit_ms is not None
    assert f"of 60 sessions failed or took longer than {2 * verdict.limit_ms:.0f} ms, against" in verdict.reason
    assert f"beside it that failed or took longer than {verdict.limit_ms:.0f} ms (2 times as long is allowed)" in verdict.reason
    assert judge(slow(4.0), replace(POLICY, slower_by_at_most=5.0))["latency"].status is GuardStatus.HOLDS


def test_a_refused_connection_is_not_a_quick_answer_but_the_slowest() -> None:
    verdict = judge(sessions(NEW, 20, failed=10) + sessions(BASE, 40))["latency"]
    assert (verdict.bad, verdict.sessions, verdict.control_bad, verdict.control_sessions) == (10, 30, 0, 40)


def test_a_canary_that_fails_its_slow_sessions_is_not_quicker_for_it() -> None:
    slow_ones = slow(4.0)
    fails_them = tuple(replace(one, ok=one.adapter == BASE or one.latency_ms < 300, valid_format=None) for one in slow_ones)
    assert any(not one.ok for one in fails_them)
    before, after = judge(slow_ones)["latency"], judge(fails_them)["latency"]
    assert after.status is before.status is GuardStatus.BREACHED
    assert after.e_value is not None
    assert before.e_value is not None
    assert after.e_value >= before.e_value
    assert (after.sessions, after.limit_ms) == (before.sessions, before.limit_ms)


def test_where_both_arms_fail_alike_neither_is_slower() -> None:
    assert judge(sessions(NEW, 60, failed=20) + sessions(BASE, 120, failed=40))["latency"].status is GuardStatus.HOLDS


def test_guards_of_a_protected_slice_abort_but_never_hold_up() -> None:
    policy = replace(POLICY, protected=(GLOBEX, "tenant=tiny"))
    inside = tuple(replace(one, slices=(GLOBEX,)) for one in sessions(NEW, 0, bad_format=30) + sessions(BASE, 60))
    around = tuple(
        replace(one, session=f"other-{one.session}") for one in sessions(NEW, 600, bad_format=2) + sessions(BASE, 1_130, bad_format=70)
    )
    verdicts = judge(inside + around, policy)
    assert verdicts["format"].status is GuardStatus.HOLDS
    assert verdicts[f"format[{GLOBEX}]"].status is GuardStatus.BREACHED
    assert not verdicts[f"format[{GLOBEX}]"].blocking
    assert verdicts["format[tenant=tiny]"].status is GuardStatus.NO_DATA
    assert not verdicts["format[tenant=tiny]"].blocking


def test_a_signal_is_judged_on_the_sessions_that_have_it() -> None:
    policy = replace(POLICY, informative=("thumbs_down",))
    told = tuple(replace(one, signals={"thumbs_down": one.adapter == NEW}) for one in sessions(NEW, 30) + sessions(BASE, 60))
    silent = tuple(replace(one, session=f"silent-{one.session}") for one in sessions(NEW, 100) + sessions(BASE, 100))
    verdict = judge(told + silent, policy)["thumbs_down"]
    assert (verdict.status, verdict.sessions, verdict.blocking) == (GuardStatus.BREACHED, 30, False)
    assert judge(silent, policy)["thumbs_down"].status is GuardStatus.NO_DATA


def test_the_alphas_of_all_verdicts_together_are_the_budget() -> None:
    policy = replace(POLICY, protected=("a=1", "a=2", "b=1"), informative=("thumbs_down", "corrected"))
    verdicts = judge(sessions(NEW, 20) + sessions(BASE, 20), policy)
    assert sum(verdict.alpha for verdict in verdicts.values()) == pytest.approx(policy.budget)


def test_a_policy_that_spends_more_than_its_budget_is_an_error() -> None:
    with pytest.raises(InvalidSettings, match="more than their budget"):
        GuardPolicy(alphas=GuardAlphas(format=0.02))
    assert GuardPolicy(alphas=GuardAlphas(format=0.02), budget=0.05).alphas.format == 0.02
    with pytest.raises(InvalidSettings):
        GuardPolicy(alphas=GuardAlphas(format=0.0))
    with pytest.raises(InvalidSettings):
        GuardPolicy(slower_by_at_most=0.0)


def test_the_order_in_which_outcomes_are_read_changes_nothing() -> None:
    outcomes = [
        replace(one, at=NOW + timedelta(seconds=number % 17))
        for number, one in enumerate(sessions(NEW, 20, bad_format=9) + sessions(BASE, 50))
    ]
    shuffled = list(outcomes)
    random.Random(3).shuffle(shuffled)
    assert judge(tuple(shuffled)) == judge(tuple(outcomes))


def test_sessions_of_other_adapters_are_nobodys_evidence() -> None:
    outcomes = sessions(NEW, 20, bad_format=9) + sessions(BASE, 50)
    assert judge(outcomes + sessions(OLD, 10, bad_format=90)) == judge(outcomes)


def test_a_guard_without_a_control_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="a guard without a control"):
        judge_guards(sessions=columns(()), challenger=NEW, champion=NEW, policy=POLICY)


ANY_OUTCOME = st.builds(
    Seen,
    session=st.integers(0, 10**9).map(str),
    adapter=st.sampled_from([NEW, BASE]),
    ok=st.booleans(),
    valid_format=st.none() | st.booleans(),
    refused=st.none() | st.booleans(),
    latency_ms=st.floats(0, 1e9),
    at=st.integers(0, 500).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    slices=st.sampled_from([(), (GLOBEX,)]),
    signals=st.sampled_from([{}, {"thumbs_down": True}, {"thumbs_down": False}]),
)
EVERYTHING = GuardPolicy(minimum_sessions=1, protected=(GLOBEX,), informative=("thumbs_down",))


@given(st.lists(ANY_OUTCOME, max_size=80, unique_by=lambda one: one.session))
def test_every_guard_gives_a_reason_and_none_passes_without_data(outcomes: list[Seen]) -> None:
    for verdict in judge(tuple(outcomes), EVERYTHING).values():
        assert verdict.reason
        assert (verdict.status is GuardStatus.NO_DATA) == (min(verdict.sessions, verdict.control_sessions) < 1)
        assert verdict.p is None or 0 <= verdict.p <= 1
        assert verdict.e_value is None or math.isfinite(verdict.e_value)


def worse(one: Seen) -> Seen:
    return replace(one, ok=False, valid_format=None if one.valid_format is None else False, refused=None if one.refused is None else True)


@given(st.lists(ANY_OUTCOME, min_size=1, max_size=80, unique_by=lambda one: one.session), st.data())
def test_a_worse_session_of_the_canary_never_improves_a_verdict(outcomes: list[Seen], data: st.DataObject) -> None:
    on_canary = [number for number, one in enumerate(outcomes) if one.adapter == NEW]
    if not on_canary:
        return
    at = data.draw(st.sampled_from(on_canary))
    before = judge(tuple(outcomes), EVERYTHING)
    after = judge((*outcomes[:at], worse(outcomes[at]), *outcomes[at + 1 :]), EVERYTHING)
    for name in ("errors", "format", "refusal", "latency", f"errors[{GLOBEX}]"):
        assert (after[name].p or 1.0) <= (before[name].p or 1.0) * (1 + 1e-9), name
    slower = judge((*outcomes[:at], replace(outcomes[at], latency_ms=1e12), *outcomes[at + 1 :]), EVERYTHING)
    assert (slower["latency"].p or 1.0) <= (before["latency"].p or 1.0) * (1 + 1e-9)
    failed = judge((*outcomes[:at], replace(outcomes[at], latency_ms=0.0, ok=False), *outcomes[at + 1 :]), EVERYTHING)
    assert (failed["latency"].p or 1.0) <= (slower["latency"].p or 1.0) * (1 + 1e-9), "as slow as can be, however quick the refusal"


def test_the_adapters_name_does_not_decide_who_comes_first() -> None:
    """Ties are ordered by session: by adapter, one arm would stand before the other and no set would hold both."""
    outcomes = sessions(NEW, 6, bad_format=19) + sessions(BASE, 50)
    swapped = tuple(replace(one, adapter=AdapterName("aaa")) if one.adapter == NEW else one for one in outcomes)
    verdict = next(
        one
        for one in judge_guards(sessions=columns(swapped), challenger=AdapterName("aaa"), champion=BASE, policy=POLICY)
        if one.name == "format"
    )
    assert verdict.e_value == judge(outcomes)["format"].e_value
