import json
import random
from typing import Any

import pytest

from services.integrations.kafka.event_codec import decode_correction
from services.ports.outbox import OutboxMessage


def correction(**changes: Any) -> dict[str, Any]:
    body = {
        "correction_id": "c-1",
        "workload_id": "tool-router",
        "source": "support-desk",
        "kind": "edit",
        "request_id": "r-1",
        "corrected": '{"tool": "f", "arguments": {}}',
        "author": {"name": "Mia"},
        "created_at": "2026-05-01T07:00:00Z",
    }
    body.update(changes)
    return {key: value for key, value in body.items() if value is not None}


def waiting(api: Any) -> list[OutboxMessage]:
    return list(api.parts.ledger.outbox.due(now=api.now, resend_after=api.now - api.now))


def counts(api: Any) -> dict[str, int]:
    return dict(api.parts.ledger.corrections.submission_counts("tool-router"))


def test_a_submission_counts_once_and_its_event_names_the_sender(api: Any) -> None:
    first = api.ask("POST", "/v1/corrections", token="desk", json=correction())
    again = api.ask("POST", "/v1/corrections", token="desk", json=correction())
    assert (first.status_code, first.json()) == (202, {"id": "c-1", "result": "accepted"})
    assert (again.status_code, again.json()) == (202, {"id": "c-1", "result": "duplicate"})
    (message,) = waiting(api)
    decoded, submitted_by = decode_correction(message.value)
    assert (decoded.id, decoded.request_id, submitted_by, message.key) == ("c-1", "r-1", "desk", "r-1")
    assert counts(api)["submitted"] == 2
    assert counts(api)["duplicates"] == 1


def test_another_order_of_keys_is_the_same_submission(api: Any) -> None:
    api.ask("POST", "/v1/corrections", json=correction())
    turned = dict(reversed(correction().items()))
    assert api.ask("POST", "/v1/corrections", json=turned).json()["result"] == "duplicate"


def test_the_same_id_with_another_body_is_a_conflict(api: Any) -> None:
    api.ask("POST", "/v1/corrections", json=correction())
    answer = api.ask("POST", "/v1/corrections", json=correction(corrected="other"))
    assert answer.status_code == 409
    assert answer.json()["error"]["value"] == "c-1"
    assert len(waiting(api)) == 1


def test_a_forged_token_is_refused_and_only_counted(api: Any) -> None:
    answer = api.ask("POST", "/v1/corrections", token="forged", json=correction())
    assert answer.status_code == 401
    assert answer.json()["error"]["kind"] == "NotAllowed"
    assert counts(api)["forged"] == 1
    assert waiting(api) == []


def test_a_missing_token_is_rejected_not_forged(api: Any) -> None:
    assert api.ask("POST", "/v1/corrections", token="", json=correction()).status_code == 401
    assert (counts(api)["forged"], counts(api)["rejected"]) == (0, 1)


@pytest.mark.parametrize("token", ["app", "narrow"])
def test_a_token_without_scope_or_workload_is_forbidden(api: Any, token: str) -> None:
    assert api.ask("POST", "/v1/corrections", token=token, json=correction()).status_code == 403
    assert waiting(api) == []


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"created_at": "yesterday"}, "$.created_at"),
        ({"author": {"name": 7}}, "$.author.name"),
        ({"author": None}, "$"),
        ({"corrected": None}, "$"),
        ({"request_id": None}, "$"),
        ({"workload_id": "nobody"}, "$.workload_id"),
        ({"submitted_by": "somebody-else"}, "$.submitted_by"),
        ({"colour": "red"}, "$"),
        ({"kind": "poem"}, "$.kind"),
    ],
)
def test_an_invalid_value_is_named_by_its_path(api: Any, changes: dict[str, Any], where: str) -> None:
    answer = api.ask("POST", "/v1/corrections", json=correction(**changes))
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["where"] == where
    assert error["reason"]
    assert error["remedy"]
    assert waiting(api) == []
    assert counts(api)["rejected"] == 1


def test_an_error_never_repeats_a_long_text(api: Any) -> None:
    answer = api.ask("POST", "/v1/corrections", json=correction(comment="secret " * 5_000))
    assert answer.status_code == 422
    assert len(answer.text) < 1_000


def test_a_body_over_the_limit_is_refused(api: Any) -> None:
    assert api.ask("POST", "/v1/corrections", content=b"x" * 1_000_000).status_code == 413


def test_random_bytes_never_cause_a_server_error(api: Any) -> None:
    seed = 20260501
    print(f"seed {seed}")
    dice = random.Random(seed)
    good = json.dumps(correction(comment="grüße")).encode()
    for _ in range(60):
        broken = bytearray(good)
        for _ in range(dice.randint(1, 4)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        status = api.ask("POST", "/v1/corrections", content=bytes(broken)).status_code
        assert status in (202, 409, 422), bytes(broken)
    for content in (b"", b"null", b"[]", b"NaN", b'"\\ud800"', b"[" * 100_000, b'{"a":' * 5_000, b"\xff\xfe", b"\x00"):
        assert api.ask("POST", "/v1/corrections", content=content).status_code == 422, content[:20]


def test_a_batch_has_a_result_per_line(api: Any) -> None:
    good, other = correction(), correction(corrected="other")
    content = "\n".join(
        [json.dumps(good), "", "{rubbish", json.dumps(good), json.dumps(other), json.dumps(correction(correction_id="c-2"))]
    )
    answer = api.ask("POST", "/v1/corrections:batch", token="desk", content=content.encode())
    results = [json.loads(line) for line in answer.text.splitlines()]
    assert [(result["line"], result["result"]) for result in results] == [
        (1, "accepted"),
        (3, "refused"),
        (4, "duplicate"),
        (5, "refused"),
        (6, "accepted"),
    ]
    assert results[3]["error"]["kind"] == "Conflict"
    assert len(waiting(api)) == 2


def test_a_batch_with_a_forged_token_is_refused_and_counted(api: Any) -> None:
    answer = api.ask("POST", "/v1/corrections:batch", token="forged", content=json.dumps(correction()).encode())
    assert answer.status_code == 401
    assert counts(api)["forged"] == 1


def test_an_undecided_correction_is_not_found(api: Any) -> None:
    api.ask("POST", "/v1/corrections", json=correction())
    assert api.ask("GET", "/v1/corrections/c-1").status_code == 404
    assert api.ask("GET", "/v1/corrections").json() == {"corrections": [], "total": 0}


def test_only_the_daemons_own_processes_ask_for_recorded_ids(api: Any, internal: str) -> None:
    assert api.ask("POST", "/v1/recorded", json={"ids": ["e-1"]}).status_code == 403
    answer = api.ask("POST", "/v1/recorded", token=internal, json={"ids": ["e-1"]})
    assert (answer.status_code, answer.json()) == (200, {"recorded": []})
