"""Recorded exchanges over HTTP: found by each id, and by nobody whose token does not cover the workload."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flywheel.ids import RequestId, WorkloadId
from flywheel.traffic.exchange import exchange_from_wire
from flywheel.traffic.features import columns_of
from flywheel.traffic.inference import Inference
from services.ports.traffic import RecordedInference, RecordingBatch
from tests.opened import traffic_store
from tests.traffic_events import inference

ROUTER, SECOND = WorkloadId("tool-router"), WorkloadId("second")
REQUEST = {
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather?"}],
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
    "temperature": 0.2,
}
CALL = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
RESPONSE = {
    "id": "chatcmpl-7",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}],
    "usage": {"prompt_tokens": 9},
}


def record(api: Any, *inferences: Inference) -> None:
    rows = [RecordedInference(inference=one, features=columns_of(one, valid_format=None)) for one in inferences]
    traffic_store(api.settings).record(RecordingBatch(advances=[], rows=rows, recorded_at=api.now))


def served(number: int = 1, **changes: object) -> Inference:
    one = inference(number, **{"workload": ROUTER, "client_request_id": "order/7", **changes})
    return replace(one, exchange=exchange_from_wire(REQUEST, RESPONSE, where="$", added=("request.temperature",)))


@pytest.mark.parametrize("id", ["req-1", "chatcmpl-7", "order/7", "order%2F7"])
def test_an_exchange_is_shown_as_it_was_served_by_each_of_its_ids(api: Any, id: str) -> None:
    record(api, served())
    answer = api.ask("GET", f"/v1/exchanges/{id}")
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["request"], shown["response"]) == (REQUEST, RESPONSE)
    assert (shown["added"], shown["left_out"], shown["text_only"], shown["unreadable"]) == (["request.temperature"], [], False, "")
    assert [shown[name] for name in ("request_id", "completion_id", "client_request_id", "workload", "client", "session")] == [
        *("req-1", "chatcmpl-7", "order/7", "tool-router", "shop", "session-1")
    ]
    assert [shown[name] for name in ("adapter", "arm", "attempt", "status", "outcome", "error")] == ["base", "champion", 1, 200, "ok", None]
    assert shown["occurred_at"] == "2026-01-05T12:00:01Z"


def test_what_is_not_there_and_what_belongs_to_others_get_one_answer(api: Any) -> None:
    record(api, served())
    answers = [api.ask("GET", f"/v1/exchanges/{id}", token="narrow") for id in ("req-1", "chatcmpl-7", "order/7", "req-9")]
    assert {answer.status_code for answer in answers} == {404}
    bodies = [answer.text.replace(id, "ID") for answer, id in zip(answers, ("req-1", "chatcmpl-7", "order/7", "req-9"), strict=True)]
    assert len(set(bodies)) == 1
    assert {api.ask("GET", f"/v1/exchanges/{id}", params={"workload": ROUTER}, token="narrow").status_code for id in ("req-1", "x")} == {
        403
    }


@pytest.mark.parametrize(("token", "status"), [("", 401), ("nobody", 401), ("app", 403), ("desk", 403), ("ada", 200), ("olga", 200)])
def test_reading_needs_a_scope_that_reads(api: Any, token: str, status: int) -> None:
    record(api, served())
    assert api.ask("GET", "/v1/exchanges/req-1", token=token).status_code == status
    assert api.ask("GET", "/v1/exchanges/absent", token=token).status_code == (404 if status == 200 else status)


def test_an_id_of_several_workloads_asks_for_one(api: Any) -> None:
    record(api, served(1), served(2, workload=SECOND, request_id=RequestId("theirs")))
    refusal = api.ask("GET", "/v1/exchanges/order/7")
    assert refusal.status_code == 422
    assert refusal.json()["error"]["remedy"] == "Name one with workload: tool-router, second."
    assert api.ask("GET", "/v1/exchanges/order/7", params={"workload": "second"}).json()["request_id"] == "theirs"
    assert api.ask("GET", "/v1/exchanges/order/7", token="narrow").json()["request_id"] == "theirs"


def test_of_a_clients_own_id_the_newest_is_shown(api: Any) -> None:
    first = served(1)
    record(api, first, served(2, occurred_at=first.occurred_at + timedelta(hours=1)))
    assert api.ask("GET", "/v1/exchanges/order/7").json()["request_id"] == "req-2"


def test_an_erased_exchange_is_shown_without_its_content(api: Any) -> None:
    record(api, served())
    with closing(sqlite3.connect(api.settings.data_dir / "ledger.db")) as connection:
        connection.execute("DELETE FROM subject_keys")
        connection.commit()
    shown = api.ask("GET", "/v1/exchanges/chatcmpl-7").json()
    assert (shown["unreadable"], shown["request"], shown["left_out"]) == ("erased", {"messages": []}, ["request", "response"])
    assert (shown["request_id"], shown["status"]) == ("req-1", 200)


def test_the_openapi_document_describes_the_route(api: Any) -> None:
    described = api.ask("GET", "/openapi.json").json()["paths"]["/v1/exchanges/{id}"]["get"]
    assert "our request id, the completion's id, or the client's own id" in described["description"]
