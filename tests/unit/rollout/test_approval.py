"""What a named person may let on."""

import pytest

from flywheel.errors import InvalidInput, Refused
from flywheel.gate.axes import GateVerdict
from flywheel.rollout.approval import approve
from flywheel.rollout.release import Release, ReleaseState
from tests.unit.rollout.release_stories import ANNA, NOW, decision, release


def ask(of: Release, *, override: bool = False, reason: str = "we have looked at it", verdict: GateVerdict = GateVerdict.REFUSE) -> Release:
    return approve(release=of, gate=decision(verdict), override=override, by=ANNA, reason=reason, now=NOW)


def test_a_gated_release_is_approved_by_name() -> None:
    approved = ask(release(ReleaseState.GATED), verdict=GateVerdict.PASS)
    assert (approved.state, approved.approved_by, approved.overridden_by, approved.actor) == (ReleaseState.GATED, ANNA, None, ANNA)
    assert approved.reason == "approved by anna: we have looked at it"


def test_approving_twice_changes_nothing() -> None:
    approved = ask(release(ReleaseState.GATED), verdict=GateVerdict.PASS)
    assert ask(approved, verdict=GateVerdict.PASS) == approved


def test_a_gate_is_passed_by_an_override_with_a_name_and_a_reason() -> None:
    refused = release(ReleaseState.REFUSED)
    with pytest.raises(Refused, match="3 of 60 right"):
        ask(refused)
    with pytest.raises(InvalidInput):
        ask(refused, override=True, reason="  ")
    past = ask(refused, override=True)
    assert (past.state, past.approved_by, past.overridden_by) == (ReleaseState.GATED, ANNA, ANNA)


def test_no_override_lifts_the_probe() -> None:
    with pytest.raises(Refused, match="weight parity"):
        ask(release(ReleaseState.REFUSED, gate=""), override=True)


@pytest.mark.parametrize("state", [state for state in ReleaseState if state not in (ReleaseState.GATED, ReleaseState.REFUSED)])
def test_nothing_else_can_be_approved_and_the_refusal_says_what_to_do(state: ReleaseState) -> None:
    with pytest.raises(Refused) as refused:
        ask(release(state), override=True)
    assert refused.value.remedy
    assert refused.value.exit_code == 3
