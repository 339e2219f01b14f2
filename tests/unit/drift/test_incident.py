"""What moved together, what trembles, what late rows change."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.drift.incident import Clearing, Standing, incident_of, retested
from flywheel.drift.verdict import DriftStatus
from flywheel.errors import InvalidInput
from tests.watching import NOON, verdict

PLACE = {("tenant=acme", "prompt_chars")}


def test_slices_that_moved_as_far_as_the_whole_are_explained_by_it() -> None:
    whole, slices = verdict(effect=0.3), [verdict(slice_name=f"tenant={name}", effect=0.32) for name in "abc"]
    incident = incident_of([*slices, whole])
    assert incident.behind == (whole,)
    assert len(incident.movers) == 4
    assert "3 others moved with it" in incident.reason


def test_one_slice_that_drags_the_whole_along_is_behind_it() -> None:
    whole, slice_ = verdict(effect=0.12), verdict(slice_name="tenant=acme", effect=0.5)
    assert incident_of([whole, slice_]).behind == (slice_,)


def test_what_trembles_at_its_threshold_is_not_over() -> None:
    nearly = verdict(DriftStatus.OK, slice_name="tenant=acme", score=2e-4, effect=0.3)
    calm = verdict(DriftStatus.OK, score=0.5, effect=0.01)
    assert incident_of([calm, nearly], moved_before=PLACE).standing is Standing.STILL
    assert incident_of([calm, nearly]).standing is Standing.QUIET


def test_what_fell_well_under_its_threshold_is_over() -> None:
    gone = verdict(DriftStatus.OK, slice_name="tenant=acme", score=0.2, effect=0.02)
    calm = verdict(DriftStatus.OK, score=0.5, effect=0.01)
    assert incident_of([calm, gone], moved_before=PLACE).standing is Standing.QUIET


def test_a_mover_without_data_is_not_over() -> None:
    silent = verdict(DriftStatus.NO_DATA, slice_name="tenant=acme", score=None)
    calm = verdict(DriftStatus.OK, score=0.5, effect=0.01)
    assert incident_of([calm, silent], moved_before=PLACE).standing is Standing.STILL


def test_nothing_judged_is_unknown() -> None:
    assert incident_of([]).standing is Standing.UNKNOWN
    assert incident_of([verdict(DriftStatus.NO_DATA, score=None)]).standing is Standing.UNKNOWN


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 1))
def test_weaker_evidence_never_keeps_what_stronger_evidence_lets_go(one: float, other: float, strength: float) -> None:
    weak, strong = max(one, other), min(one, other)
    standings = [
        incident_of(
            [verdict(DriftStatus.OK, slice_name="tenant=acme", score=score, effect=0.4), verdict(DriftStatus.OK, score=1.0, effect=0.0)],
            moved_before=PLACE,
            clearing=Clearing(strength=strength),
        ).standing
        for score in (weak, strong)
    ]
    assert standings != [Standing.STILL, Standing.QUIET]


def test_late_labels_change_the_verdict_of_their_own_window() -> None:
    before = [verdict(DriftStatus.OK, column="judge", score=0.3), verdict(column="refusal")]
    after = [verdict(column="judge"), verdict(DriftStatus.OK, column="refusal", score=0.3)]
    changed = retested(before, after)
    assert [one.column for one in changed.found] == ["judge"]
    assert [one.column for one in changed.withdrawn] == ["refusal"]


def test_late_labels_never_speak_of_another_window() -> None:
    with pytest.raises(InvalidInput, match="against itself"):
        retested([verdict()], [verdict(start=NOON + timedelta(hours=1))])
