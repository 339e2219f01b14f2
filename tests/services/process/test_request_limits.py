from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.process.request_limits import RequestLimiter, TooManyRequests
from services.settings.sections import Limits


@dataclass
class Story:
    """A limiter and its clock."""

    limiter: RequestLimiter = field(init=False)
    now: float = 100.0

    def limited(self, *, token: dict[str, int] | None = None, workload: dict[str, int] | None = None, share: int = 1) -> "Story":
        self.limiter = RequestLimiter(
            tokens={"app": Limits(**(token or {}))},
            workloads={"support": Limits(**(workload or {}))},
            share=share,
            clock=lambda: self.now,
        )
        return self

    def ask(self, client: str = "app") -> int:
        """0, or the seconds to wait."""
        try:
            with self.limiter.held(client=client, workload="support"):
                return 0
        except TooManyRequests as error:
            return error.retry_after


def test_a_minutes_worth_may_come_at_once_and_comes_back_evenly() -> None:
    story = Story().limited(token={"requests_per_minute": 6})
    assert [story.ask() for _ in range(7)] == [0, 0, 0, 0, 0, 0, 10]
    story.now += 4
    assert story.ask() == 6
    story.now += 6
    assert [story.ask(), story.ask()] == [0, 10]
    story.now += 3600
    assert [story.ask() for _ in range(7)][-2:] == [0, 10]


def test_what_was_refused_is_not_counted() -> None:
    story = Story().limited(token={"requests_per_minute": 1}, workload={"requests_per_minute": 100})
    assert [story.ask() for _ in range(50)] == [0, *[60] * 49]
    assert [story.ask("other") for _ in range(100)].count(0) == 99  # of the workload one was used


def test_tokens_are_taken_after_the_answer_and_may_overdraw() -> None:
    story = Story().limited(token={"tokens_per_minute": 600})
    assert story.ask() == 0
    story.limiter.spent(1_200, client="app", workload="support")
    assert story.ask() == 61  # at 10 a second: 600 below, and one
    story.now += 61
    assert story.ask() == 0


def test_a_place_is_given_back_also_after_an_error() -> None:
    story = Story().limited(workload={"in_flight": 2})
    with ExitStack() as under_way:
        for _ in range(2):
            under_way.enter_context(story.limiter.held(client="anybody", workload="support"))
        assert story.ask() == 1
    with pytest.raises(KeyError), story.limiter.held(client="app", workload="support"):
        raise KeyError
    assert story.ask() == 0


@pytest.mark.parametrize("limits", [{}, {"workload": {"in_flight": 9}}])
def test_without_a_limit_nobody_waits(limits: Any) -> None:
    story = Story().limited(**limits)
    story.limiter.spent(10**9, client="app", workload="support")
    assert {story.ask() for _ in range(1_000)} == {0}


def test_several_processes_share_a_limit() -> None:
    story = Story().limited(token={"requests_per_minute": 10}, share=4)
    assert [story.ask() for _ in range(3)] == [0, 0, 30]
