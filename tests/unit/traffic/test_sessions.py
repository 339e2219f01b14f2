"""What a session's requests make of its outcome."""

from datetime import UTC, datetime, timedelta

import pytest

from flywheel.ids import BASE
from flywheel.traffic import sessions
from flywheel.traffic.attempt_outcome import outcome_of
from flywheel.traffic.sessions import SessionOutcome, SessionRequest, session_outcome

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def request(
    minute: int = 0, *, status: int = 200, tenant: str = "acme", latency_ms: float = 10.0, **features: float | None
) -> SessionRequest:
    return SessionRequest(
        at=NOON + timedelta(minutes=minute),
        outcome=outcome_of(status),
        latency_ms=latency_ms,
        dimensions={"tenant": tenant},
        features=features,
    )


def outcome(*requests: SessionRequest) -> SessionOutcome:
    found = session_outcome("s", BASE, requests)
    assert found is not None
    return found


def test_one_failed_request_makes_the_session_not_ok() -> None:
    assert outcome(request(), request(1, status=204)).ok
    assert not outcome(request(), request(1, status=500)).ok


@pytest.mark.parametrize("status", [400, 429, 499])
def test_what_is_not_the_models_says_nothing_about_the_arm(status: int) -> None:
    found = outcome(request(latency_ms=10.0), request(1, status=status, latency_ms=9_000.0))
    assert (found.ok, found.latency_ms, found.requests) == (True, 10.0, 1)
    assert session_outcome("s", BASE, [request(status=status)]) is None


def test_outcomes_are_no_signals_of_users() -> None:
    assert not set(sessions.SIGNALS) & {"error", "client_error", "throttled", "client_aborted"}


def test_one_invalid_answer_makes_the_sessions_format_invalid() -> None:
    assert outcome(request(valid_format=1.0), request(1, valid_format=None)).valid_format is True
    assert outcome(request(valid_format=1.0), request(1, valid_format=0.0)).valid_format is False


def test_one_refusal_makes_the_session_refused() -> None:
    assert outcome(request(refusal=0.0), request(1, refusal=1.0)).refused is True
    assert outcome(request(refusal=0.0)).refused is False


def test_a_session_without_answers_says_nothing_of_them() -> None:
    silent = outcome(request(status=500, valid_format=None, refusal=None))
    assert (silent.valid_format, silent.refused) == (None, None)


def test_a_session_begins_with_its_first_request_and_averages_latency() -> None:
    found = outcome(request(latency_ms=10.0, tenant="globex"), request(5, latency_ms=30.0))
    assert (found.at, found.latency_ms, found.requests, found.slices) == (NOON, 20.0, 2, ("tenant=acme", "tenant=globex"))


def test_a_signal_is_bad_when_one_request_has_its_worse_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SIGNALS", {"thumbs_up": "no"})
    assert outcome(request(thumbs_up=1.0), request(1, thumbs_up=0.0)).signals == {"thumbs_up": True}
    assert outcome(request(thumbs_up=1.0)).signals == {"thumbs_up": False}
    assert outcome(request()).signals == {}
