"""Whose error an attempt was."""

import pytest

from flywheel.traffic.attempt_outcome import AttemptOutcome, outcome_of


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, AttemptOutcome.OK), (201, AttemptOutcome.OK), (429, AttemptOutcome.THROTTLED), (499, AttemptOutcome.CLIENT_ABORTED)]
    + [(status, AttemptOutcome.CLIENT_ERROR) for status in (400, 405, 409, 413, 414, 415, 416, 422, 431)]
    + [(status, AttemptOutcome.MODEL_ERROR) for status in (0, 302, 401, 403, 404, 408, 500, 502, 503, 504, 529)],
)
def test_a_status_tells_whose_error_it_was(status: int, outcome: AttemptOutcome) -> None:
    assert outcome_of(status) is outcome


def test_a_stream_that_closed_without_its_end_is_broken() -> None:
    assert outcome_of(200, ended=False) is AttemptOutcome.MODEL_ERROR


def test_a_client_that_closes_after_the_end_has_its_answer() -> None:
    assert outcome_of(200, ended=True, client_closed=True) is AttemptOutcome.OK


@pytest.mark.parametrize("status", [0, 200, 499])
def test_a_client_that_closes_before_the_end_aborts(status: int) -> None:
    assert outcome_of(status, ended=False, client_closed=True) is AttemptOutcome.CLIENT_ABORTED


def test_a_server_error_stays_one_although_the_client_is_gone() -> None:
    assert outcome_of(500, ended=True, client_closed=True) is AttemptOutcome.MODEL_ERROR


def test_only_answers_and_model_errors_say_something_about_the_model() -> None:
    assert {outcome for outcome in AttemptOutcome if outcome.is_of_the_model} == {AttemptOutcome.OK, AttemptOutcome.MODEL_ERROR}
