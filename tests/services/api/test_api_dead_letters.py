"""Dead letters over HTTP: who sees which, what is shown of them, and what retry and drop leave behind."""

from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from flywheel.errors import CannotRun, Conflict, Refused
from flywheel.ids import Person
from flywheel.journal import JournalKind
from flywheel.traffic.dead_letter import LetterCause, LetterState
from services.api.app import build_app
from services.api.retry_dead_letters import drop, retry
from services.ports.dead_letters import DeadLetter
from services.ports.redaction import Redactor

TOPIC = "flywheel.traffic.v1"
MAIL = b"mail a@b.example"


def keep(api: Any, id: str = "dl-1", *, raw: bytes = MAIL, **changes: Any) -> DeadLetter:
    held: dict[str, Any] = {
        "topic": TOPIC,
        "partition": 0,
        "offset": 7,
        "at": api.now,
        "cause": LetterCause.FAILED,
        "reason": "is not JSON",
        "path": "$",
    }
    letter = DeadLetter(**({"id": id, "size": len(raw), "workload": "tool-router"} | held | changes))
    api.parts.letters.keep(letter, raw)
    return letter


def ids(api: Any, token: str = "ada", **query: str) -> list[str]:
    answer = api.ask("GET", "/v1/dead-letters", token=token, params=query)
    return [letter["id"] for letter in answer.json()["dead_letters"]]


def lines(api: Any) -> list[tuple[str, str, str]]:
    return [(one.subject, one.state, one.actor) for one in api.parts.ledger.journal.entries(kind=JournalKind.DEAD_LETTER)]


def test_letters_are_listed_by_workload_and_cause_newest_first_without_content(api: Any) -> None:
    keep(api, "dl-1", cause=LetterCause.DEADLY)
    api.later(seconds=1)
    keep(api, "dl-2", workload="second")
    api.later(seconds=1)
    keep(api, "dl-3", workload="")
    answer = api.ask("GET", "/v1/dead-letters")
    assert [letter["id"] for letter in answer.json()["dead_letters"]] == ["dl-3", "dl-2", "dl-1"]
    assert "example" not in answer.text
    assert ids(api, workload="second") == ["dl-2"]
    assert ids(api, cause="deadly") == ["dl-1"]
    assert ids(api, limit="1") == ["dl-3"]
    assert api.ask("GET", "/v1/dead-letters", params={"cause": "bad luck"}).status_code == 422


@pytest.mark.parametrize("deed", ["", "/retry", "/drop"])
def test_a_token_sees_and_works_only_with_letters_of_its_workloads(api: Any, deed: str) -> None:
    for number, workload in enumerate(("tool-router", "second", "")):
        keep(api, f"dl-{number}", workload=workload)
    assert ids(api, token="narrow") == ["dl-1"]
    method, body = ("POST", {"json": {"reason": "r"}} if deed == "/drop" else {}) if deed else ("GET", {})
    statuses = {n: api.ask(method, f"/v1/dead-letters/dl-{n}{deed}", token="narrow", **body).status_code for n in range(4)}
    assert statuses == {0: 404, 1: 200, 2: 404, 3: 404}
    assert api.ask(method, f"/v1/dead-letters/dl-1{deed}", token="desk", **body).status_code == 403
    assert api.ask(method, f"/v1/dead-letters/dl-1{deed}", token="", **body).status_code == 401
    assert len(api.publisher.arrived) == (deed == "/retry")


def test_a_shown_letter_is_redacted_and_says_what_to_do(api: Any) -> None:
    keep(api, raw=b'{"text": "mail a\\u0040b.example now"}')
    keep(api, "dl-2", raw=b"x" * 3_990 + b" ann@mail.example " + b"y" * 9_000)
    shown = api.ask("GET", "/v1/dead-letters/dl-1").json()
    assert shown["content"] == '{"text": "mail <EMAIL_ADDRESS:00000000> now"}'
    assert (shown["topic"], shown["partition"], shown["offset"], shown["attempts"], shown["state"]) == (TOPIC, 0, 7, 1, "waiting")
    assert "flywheel dlq retry dl-1" in shown["next_step"]
    long = api.ask("GET", "/v1/dead-letters/dl-2").json()["content"]
    assert "ann" not in long
    assert long.endswith("…")


def test_the_content_of_a_deadly_letter_is_not_worked_on(api: Any) -> None:
    keep(api, cause=LetterCause.DEADLY)
    assert api.ask("GET", "/v1/dead-letters/dl-1").json()["content"] == "not shown: work on it ended processes"


def test_without_a_redactor_no_content_is_shown(api: Any) -> None:
    def missing() -> Redactor:
        raise CannotRun("presidio is missing", remedy="Install it.")

    keep(api)
    app = build_app(replace(api.parts, open_redactor=missing), ready=lambda: None)
    with TestClient(app) as http:
        shown = http.get("/v1/dead-letters/dl-1", headers={"Authorization": "Bearer ada"}).json()
    assert shown["content"] == "not shown: presidio is missing"


def test_retry_sends_the_same_bytes_to_the_same_topic(api: Any) -> None:
    keep(api, event_id="event-1")
    for _ in range(2):
        answer = api.ask("POST", "/v1/dead-letters/dl-1/retry")
        assert (answer.status_code, answer.json()["state"]) == (200, "retried")
        api.later(seconds=1)
    assert [(one.topic, one.value) for one in api.publisher.arrived] == [(TOPIC, MAIL)] * 2
    assert lines(api) == [("dl-1", "retried", "ada")] * 2
    assert api.publisher.closed == 2


@pytest.mark.parametrize("fault", ["down", "losing"])
def test_a_retry_without_a_broker_changes_nothing(api: Any, fault: str) -> None:
    letter = keep(api)
    setattr(api.publisher, fault, True)
    answer = api.ask("POST", "/v1/dead-letters/dl-1/retry")
    assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "CannotRun")
    assert api.parts.letters.dead_letter("dl-1") == letter
    assert lines(api) == []


@pytest.mark.parametrize(("meanwhile", "deed"), [(LetterState.DROPPED, retry), (LetterState.TAKEN, retry), (LetterState.TAKEN, drop)])
def test_what_has_become_of_a_letter_meanwhile_stays(api: Any, meanwhile: LetterState, deed: Any) -> None:
    """Two people at once, or the topic's reader beside a person: ``letter`` is as it was read before."""
    letter = keep(api)
    api.parts.letters.move("dl-1", meanwhile)
    more = {"reason": "r"} if deed is drop else {}
    with pytest.raises((Conflict, Refused), match="meanwhile"):
        deed(api.parts, letter, by=Person("ada"), now=api.now, **more)
    assert api.parts.letters.dead_letter("dl-1").state is meanwhile
    assert (api.publisher.arrived, lines(api)) == ([], [])


def test_a_retry_that_arrived_without_an_answer_leaves_what_its_reader_wrote(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(api)
    monkeypatch.setattr(api.publisher, "flush", lambda: api.parts.letters.move("dl-1", LetterState.TAKEN) and frozenset())
    assert api.ask("POST", "/v1/dead-letters/dl-1/retry").status_code == 503
    assert api.parts.letters.dead_letter("dl-1").state is LetterState.TAKEN


def test_a_dropped_letter_has_no_content_and_is_in_the_journal(api: Any) -> None:
    keep(api)
    assert api.ask("POST", "/v1/dead-letters/dl-1/drop", json={}).status_code == 422
    answer = api.ask("POST", "/v1/dead-letters/dl-1/drop", json={"reason": "a test of ours"})
    assert (answer.status_code, answer.json()["state"]) == (200, "dropped")
    assert lines(api) == [("dl-1", "dropped", "ada")]
    assert api.parts.letters.content("dl-1") is None
    refused = api.ask("POST", "/v1/dead-letters/dl-1/retry")
    assert (refused.status_code, refused.json()["error"]["reason"]) == (
        409,
        "it cannot be retried: it was dropped, and its content with it",
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"size": 2_000_000}, "only the first 1,048,576 of its 2,000,000 bytes are kept"),
        ({"topic": "other.v1"}, "its topic is not read any more"),
        ({"state": LetterState.EXPIRED}, "its content was deleted, because newer letters needed the room"),
    ],
)
def test_what_cannot_be_sent_again_is_refused_with_the_reason(api: Any, changes: dict[str, Any], why: str) -> None:
    keep(api, **changes)
    error = api.ask("POST", "/v1/dead-letters/dl-1/retry").json()["error"]
    assert (error["reason"], error["kind"]) == (f"it cannot be retried: {why}", "Refused")
    assert "flywheel dlq drop" in error["remedy"]
    assert api.publisher.arrived == []
