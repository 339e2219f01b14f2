"""What drifted together, which series explain the rest, and when a series is cleared."""

from hypothesis import given
from hypothesis import strategies as st

from flywheel.drift.hysteresis import Clearing
from flywheel.drift.incident import IncidentState, incident_of
from flywheel.drift.verdict import DriftStatus
from tests.watching import verdict

PLACE = {("tenant=acme", "prompt_chars")}


def test_slices_that_drift_as_far_as_all_traffic_are_explained_by_it() -> None:
    whole, slices = verdict(effect=0.3), [verdict(slice_name=f"tenant={name}", effect=0.32) for name in "abc"]
    incident = incident_of([*slices, whole])
    assert incident.primary == (whole,)
    assert len(incident.drifted) == 4
    assert "3 others drifted with it" in incident.reason


def test_one_slice_that_takes_all_traffic_along_is_the_primary_driver() -> None:
    whole, slice_ = verdict(effect=0.12), verdict(slice_name="tenant=acme", effect=0.5)
    assert incident_of([whole, slice_]).primary == (slice_,)


def test_a_series_close_to_its_threshold_is_not_cleared() -> None:
    nearly = verdict(DriftStatus.OK, slice_name="tenant=acme", score=2e-4, effect=0.3)
    calm = verdict(DriftStatus.OK, score=0.5, effect=0.01)
    assert incident_of([calm, nearly], drifted_before=PLACE).state is IncidentState.CLEARING
    assert incident_of([calm, nearly]).state is IncidentState.NOT_DRIFTED


def test_a_series_well_under_its_threshold_is_cleared() -> None:
    gone = verdict(DriftStatus.OK, slice_name="tenant=acme", score=0.2, effect=0.02)
    calm = verdict(DriftStatus.OK, score=0.5, effect=0.01)
    assert incident_of([calm, gone], drifted_before=PLACE).state is IncidentState.NOT_DRIFTED


def test_a_series_without_data_is_not_cleared() -> None:
    silent = verdict(DriftStatus.NO_DATA, slice_name="tenant=acme", score=None)
    calm = verdict(DriftStatus.OK, score=0.5, effect=0.01)
    assert incident_of([calm, silent], drifted_before=PLACE).state is IncidentState.CLEARING


def test_nothing_judged_is_unknown() -> None:
    assert incident_of([]).state is IncidentState.UNKNOWN
    assert incident_of([verdict(DriftStatus.NO_DATA, score=None)]).state is IncidentState.UNKNOWN


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 1))
def test_weaker_evidence_never_keeps_what_stronger_evidence_clears(one: float, other: float, part: float) -> None:
    weak, strong = max(one, other), min(one, other)
    standings = [
        incident_of(
            [verdict(DriftStatus.OK, slice_name="tenant=acme", score=score, effect=0.4), verdict(DriftStatus.OK, score=1.0, effect=0.0)],
            drifted_before=PLACE,
            clearing=Clearing(z=part),
        ).state
        for score in (weak, strong)
    ]
    assert standings != [IncidentState.CLEARING, IncidentState.NOT_DRIFTED]
