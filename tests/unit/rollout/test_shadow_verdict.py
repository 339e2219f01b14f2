"""May the challenger leave the shadow?"""

import pytest

from flywheel.rollout.shadow import ShadowCounts, ShadowStatus, judge_shadow


@pytest.mark.parametrize(
    ("answered", "failed", "status"),
    [
        (0, 0, ShadowStatus.WAITS),
        (19, 0, ShadowStatus.WAITS),
        (20, 0, ShadowStatus.HOLDS),
        (20, 2, ShadowStatus.HOLDS),
        (20, 3, ShadowStatus.FAILS),
        (0, 9, ShadowStatus.WAITS),
        (0, 10, ShadowStatus.FAILS),
    ],
)
def test_enough_answers_let_it_on_and_failures_do_not(answered: int, failed: int, status: ShadowStatus) -> None:
    assert judge_shadow(counts=ShadowCounts(answered=answered, failed=failed), wanted=20).status is status


def test_the_verdict_says_how_many_were_wanted() -> None:
    assert judge_shadow(counts=ShadowCounts(answered=20), wanted=20).wanted == 20


def test_no_counts_are_a_reason_to_wait_also_when_none_are_wanted_before() -> None:
    assert judge_shadow(counts=None, wanted=20).status is ShadowStatus.WAITS
