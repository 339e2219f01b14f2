"""Clocks that run backwards, times without a zone and facts of others neither open an alert nor end one."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from flywheel.alerts.acknowledgement import acknowledge
from flywheel.alerts.alert import Alert
from flywheel.alerts.facts import WindowFacts, facts_of
from flywheel.alerts.lifecycle import AlertPolicy, advance, fingerprint_of
from flywheel.alerts.notices import owed
from flywheel.errors import InvalidInput, Refused
from flywheel.ids import Person, WorkloadId
from tests.watching import NOON, ROUTER, verdict

NAIVE = datetime(2026, 3, 1, 12, 0)
HOUR = timedelta(hours=1)
FACTS = facts_of(workload=ROUTER, window="first", at=NOON, verdicts=[verdict()], protected=())
LATER = replace(FACTS, window="second", at=NOON + HOUR)


def moved(alert: Alert | None, facts: WindowFacts | None, now: datetime) -> Alert:
    after = advance(alert=alert, facts=facts, policy=AlertPolicy(), now=now).alert
    assert after is not None
    return after


FIRING = moved(moved(None, FACTS, NOON), None, NOON)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: moved(None, FACTS, NAIVE),
        lambda: moved(FIRING, LATER, NAIVE),
        lambda: replace(FACTS, at=NAIVE),
        lambda: owed(FIRING, now=NAIVE),
        lambda: moved(replace(FIRING, evidence={"seen_until": "2026-03-01T12:00:00"}), LATER, NOON + HOUR),
    ],
)
def test_times_without_a_zone_are_refused(ask: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput, match="has no time zone"):
        ask()


def test_a_clock_that_was_set_back_does_not_make_an_alert_look_older() -> None:
    assert moved(FIRING, LATER, NOON - 10 * HOUR).last_seen_at == NOON


def test_facts_of_another_workload_do_not_keep_an_alert_open() -> None:
    with pytest.raises(InvalidInput, match="facts are of desk"):
        moved(FIRING, replace(LATER, workload=WorkloadId("desk")), NOON + HOUR)
    with pytest.raises(InvalidInput, match="no facts of this one"):
        facts_of(workload=WorkloadId("desk"), window="w", at=NOON, verdicts=[verdict()], protected=())


def test_an_alert_whose_ledger_line_is_broken_says_so() -> None:
    with pytest.raises(InvalidInput, match="which windows this alert has taken in"):
        moved(replace(FIRING, evidence={"seen_until": "junk"}), LATER, NOON + HOUR)


@pytest.mark.parametrize("length", [-HOUR, 5, None])
@pytest.mark.parametrize("field", ["hold", "resolve_after"])
def test_a_policy_of_no_length_of_time_is_refused(field: str, length: object) -> None:
    with pytest.raises(InvalidInput, match=f"alert policy: {field}"):
        AlertPolicy(**{field: length})  # type: ignore[arg-type]


def test_nobody_by_name_and_half_a_surrogate_pair_take_no_alert() -> None:
    with pytest.raises(Refused, match="only a named person"):
        acknowledge(alert=FIRING, by=Person("  "), note="", now=NOON, until=NOON + HOUR)
    with pytest.raises(InvalidInput, match="workload of an alert"):
        fingerprint_of(WorkloadId("\ud800"))
