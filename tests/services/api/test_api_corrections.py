import json
import random
import sqlite3
from contextlib import closing
from typing import Any

import orjson
import pytest

from flywheel.corrections.correction import CorrectionState
from flywheel.corrections.join_inference import without_request
from flywheel.journal import JournalEntry
from services.api.requests import SINGLE_BYTES
from services.integrations.kafka.event_codec import decode_correction
from services.ports.corrections import KeptCorrection
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
    assert (decoded.id, decoded.request_id, submitted_by, message.key) == ("tool-router/support-desk:c-1", "r-1", "desk", "r-1")
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


BOM = b"\xef\xbb\xbf"
TWO = [correction(correction_id="c-1"), correction(correction_id="c-2", corrected="zwei\u2028drei")]
LINES = "\n".join(json.dumps(one, ensure_ascii=False) for one in TWO).encode()


def sent(api: Any, content: bytes) -> list[dict[str, Any]]:
    answer = api.ask("POST", "/v1/corrections:batch", token="desk", content=content)
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.split("\n") if line]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("NDJSON", LINES),
        ("NDJSON with a byte order mark", BOM + LINES),
        ("a byte order mark in each line, as of files put together", b"\n".join(BOM + line for line in LINES.split(b"\n"))),
        ("line ends of Windows", LINES.replace(b"\n", b"\r\n") + b"\r\n"),
        ("empty lines", b"\n\r\n  \n" + LINES.replace(b"\n", b"\n\n") + b"\n\n"),
        ("a list", json.dumps(TWO).encode()),
        ("a list, printed nicely, with a byte order mark", BOM + json.dumps(TWO, indent=2).encode()),
        ("a list, printed nicely, with line ends of Windows", json.dumps(TWO, indent=2).encode().replace(b"\n", b"\r\n")),
    ],
)
def test_files_of_tools_and_of_windows_are_understood(api: Any, kind: str, content: bytes) -> None:
    assert [(one["id"], one["result"]) for one in sent(api, content)] == [("c-1", "accepted"), ("c-2", "accepted")], kind
    assert [decode_correction(message.value)[0].corrected for message in waiting(api)][1] == "zwei\u2028drei"
    assert counts(api)["rejected"] == 0


def test_one_correction_printed_nicely_is_a_file_of_one(api: Any) -> None:
    assert [one["result"] for one in sent(api, json.dumps(correction(), indent=2).encode())] == ["accepted"]


@pytest.mark.parametrize(
    ("kind", "content", "where", "reason"),
    [
        ("a line break inside a text", b'{"correction_id":"z-1","comment":"first\nsecond"}', "line 1, column 40", "control character"),
        ("a quote inside a text", b'{"comment":\n "he said "no" to me"}', "line 2, column 12", "expected"),
        ("bytes that are not UTF-8", b'{"comment":\n"gr\xfc\xdfe"}', "line 2, column 4", "not UTF-8"),
        ("UTF-16", "{}".encode("utf-16"), "line 1", "UTF-16"),
        ("nothing", b"", "line 1, column 1", "empty"),
        ("a list", b"[]", "$", "must be a JSON object"),
        ("a byte order mark and a fault", BOM + b'{"a":}', "line 1, column 6", "expected a JSON value"),
    ],
)
def test_what_is_not_json_is_named_by_line_and_column(api: Any, kind: str, content: bytes, where: str, reason: str) -> None:
    answer = api.ask("POST", "/v1/corrections", token="desk", content=content)
    error = answer.json()["error"]
    assert (answer.status_code, error["where"]) == (422, where), kind
    assert reason in error["reason"]
    assert error["remedy"]
    assert (waiting(api), counts(api)["rejected"]) == ([], 1)


def test_a_byte_order_mark_before_a_single_correction_is_passed_over(api: Any) -> None:
    assert api.ask("POST", "/v1/corrections", content=BOM + json.dumps(correction()).encode()).status_code == 202


def turned_away(api: Any) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(api.settings.data_dir / "ledger.db")) as ledger:
        return [(str(source), str(reason)) for source, reason in ledger.execute("SELECT source, reason FROM submissions_turned_away")]


def test_refused_lines_are_named_and_counted_under_the_tokens_name(api: Any) -> None:
    broken = b'{"correction_id":"z-1",\n"source":"support-desk","comment":"first\nsecond"}'
    results = sent(api, b"\n".join([broken, json.dumps(correction(kind="poem")).encode(), LINES]))
    assert [(one["line"], one["result"]) for one in results] == [
        (1, "refused"), (2, "refused"), (3, "refused"), (4, "refused"), (5, "accepted"), (6, "accepted"),
    ]  # fmt: skip
    assert [one["error"]["where"] for one in results[:4]] == ["line 1, column 24", "line 2, column 9", "line 3, column 1", "$.kind"]
    assert [source for source, _ in turned_away(api)] == ["desk"] * 4


@pytest.mark.parametrize(
    ("kind", "content", "where"),
    [
        ("cut off", json.dumps(TWO, indent=2)[:-9].encode(), "line 24, column"),
        ("a comma too many", json.dumps(TWO)[:-1].encode() + b",]", "line 1, column"),
        ("two lists", json.dumps(TWO, indent=2).encode() * 2, "line 26, column"),
    ],
)
def test_a_list_that_is_broken_is_one_fault_and_nothing_of_it_is_taken(api: Any, kind: str, content: bytes, where: str) -> None:
    (result,) = sent(api, content)
    assert (result["line"], result["result"]) == (1, "refused"), kind
    assert result["error"]["where"].startswith(where)
    assert (waiting(api), counts(api)["rejected"]) == ([], 1)


def test_entries_of_a_list_are_numbered_and_each_is_checked(api: Any) -> None:
    results = sent(api, json.dumps([TWO[0], 7, [], None, correction(kind="poem"), TWO[1]], indent=1).encode())
    assert [(one["line"], one["result"]) for one in results] == [
        (1, "accepted"), (2, "refused"), (3, "refused"), (4, "refused"), (5, "refused"), (6, "accepted"),
    ]  # fmt: skip
    assert [one["error"]["where"] for one in results[1:5]] == ["$", "$", "$", "$.kind"]


@pytest.mark.parametrize("size", [1_200_000, 2_300_000])
@pytest.mark.parametrize("form", ["lines", "list"])
def test_one_line_over_the_limit_is_refused_and_the_others_are_taken(api: Any, size: int, form: str) -> None:
    big = correction(correction_id="big", original="x" * size)
    content = json.dumps([TWO[0], big, TWO[1]]).encode() if form == "list" else b"\n".join([LINES, json.dumps(big).encode()])
    results = {one.get("id", "big"): one for one in sent(api, content)}
    assert (results["c-1"]["result"], results["c-2"]["result"], results["big"]["result"]) == ("accepted", "accepted", "refused")
    assert (results["big"]["error"]["reason"], len(waiting(api))) == ("is too long", 2)
    assert counts(api)["rejected"] == 1


def test_the_event_of_the_longest_correction_stays_under_the_brokers_limit(api: Any) -> None:
    longest = {**correction(), "original": ""}
    longest["original"] = "\u0001" * ((SINGLE_BYTES - len(orjson.dumps(longest))) // 6)  # six bytes each in JSON
    assert api.ask("POST", "/v1/corrections", content=orjson.dumps(longest)).status_code == 202
    (message,) = waiting(api)
    assert len(message.value) < 950_000


def test_a_nested_value_is_refused_and_breaks_nothing(api: Any) -> None:
    deep = b'{"correction_id":' + b"[" * 1_000 + b"]" * 1_000 + b"}"
    for content in (deep, b"[" + deep + b"]", b"[" * 1_000 + b"]" * 1_000):
        assert [one["result"] for one in sent(api, content)] == ["refused"]


def test_a_batch_with_a_forged_token_is_refused_and_counted(api: Any) -> None:
    answer = api.ask("POST", "/v1/corrections:batch", token="forged", content=json.dumps(correction()).encode())
    assert answer.status_code == 401
    assert counts(api)["forged"] == 1


def decide(api: Any) -> None:
    """What the correction desk does with everything that was handed in, without its reasons."""
    for message in waiting(api):
        one, _ = decode_correction(message.value)
        kept = KeptCorrection(joined=without_request(one), state=CorrectionState.REVIEW, reason="because", decided_at=api.now)
        line = JournalEntry(at=api.now, workload=one.workload, kind="correction", subject=one.id, state="review", reason="because")
        api.parts.ledger.corrections.keep(kept, None, line)


def test_two_tools_that_both_number_from_one_are_both_taken(api: Any) -> None:
    bodies = [
        ("desk", correction(correction_id="1", corrected="one")),
        ("narrow", correction(correction_id="1", corrected="two", source="labels", workload_id="second")),
        ("desk", correction(correction_id="1", corrected="three", source="crm:eu")),
    ]
    for token, body in bodies:
        answer = api.ask("POST", "/v1/corrections", token=token, json=body)
        assert (answer.status_code, answer.json()) == (202, {"id": "1", "result": "accepted"})
    again = api.ask("POST", "/v1/corrections", token="narrow", json=correction(correction_id="1", source="labels", workload_id="second"))
    assert (again.status_code, again.json()["error"]["value"]) == (409, "1")
    assert "narrow used the id for another correction of labels" in again.json()["error"]["reason"]
    elsewhere = api.ask(
        "POST", "/v1/corrections", token="narrow", json=correction(correction_id="1", corrected="four", workload_id="second")
    )
    assert (elsewhere.status_code, elsewhere.json()) == (202, {"id": "1", "result": "accepted"})  # a source is only a claim
    decide(api)

    def read(path: str, token: str = "ada") -> Any:
        answer = api.ask("GET", f"/v1/corrections/{path}", token=token)
        return answer.json()["qualified_id"] if answer.status_code == 200 else (answer.status_code, answer.json()["error"])

    status, error = read("1")
    assert status == 409
    assert "second/labels:1, second/support-desk:1, tool-router/crm%3Aeu:1, tool-router/support-desk:1" in error["remedy"]
    for path in ("labels:1", "1?source=labels", "second/labels:1"):
        assert read(path) == read(path, "narrow") == "second/labels:1"
    for path in ("crm:eu:1", "tool-router/crm%253Aeu:1", "1?source=crm:eu"):
        assert read(path) == "tool-router/crm%3Aeu:1"
        assert read(path, "narrow")[0] == 404
    assert read("support-desk:1", "narrow") == "second/support-desk:1"  # the one that the token may see
    assert read("tool-router/support-desk:1", "narrow")[0] == 404
    assert read("1?source=nobody")[0] == 404
    listed = api.ask("GET", "/v1/corrections").json()["corrections"]
    assert sorted((one["source"], one["id"], one["qualified_id"]) for one in listed) == [
        ("crm:eu", "1", "tool-router/crm%3Aeu:1"), ("labels", "1", "second/labels:1"),
        ("support-desk", "1", "second/support-desk:1"), ("support-desk", "1", "tool-router/support-desk:1"),
    ]  # fmt: skip


def test_a_conversation_is_shown_as_it_was_handed_in(api: Any) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"n": 1'}}
    messages = [
        {"role": "developer", "content": "Be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "{}"},
    ]
    body = correction(
        request_id=None, messages=messages, dimensions={"tenant": "acme"}, corrected=None, corrected_calls=[{"name": "f", "arguments": {}}]
    )
    assert api.ask("POST", "/v1/corrections", token="desk", json=body).status_code == 202
    decide(api)
    shown = api.ask("GET", "/v1/corrections/c-1").json()["joined"]["correction"]
    assert (shown["inline"]["messages"], shown["inline"]["dimensions"]) == (messages, {"tenant": "acme"})
    assert shown["corrected"] == '{"tool": "f", "arguments": {}}'


def test_a_call_with_broken_arguments_is_refused_at_intake_with_its_path(api: Any) -> None:
    body = correction(corrected=None, corrected_calls=[{"name": "f", "arguments": '{"a": 1'}])
    answer = api.ask("POST", "/v1/corrections", token="desk", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["where"], error["reason"]) == (422, "$.corrected_calls[0].arguments", "must be a JSON object")


def test_the_longest_source_and_id_make_an_event_that_can_be_read(api: Any) -> None:
    body = correction(correction_id="%" * 200, source=":" * 100)
    assert api.ask("POST", "/v1/corrections", json=body).status_code == 202
    (message,) = waiting(api)
    assert decode_correction(message.value)[0].given_id == "%" * 200


def test_an_undecided_correction_is_not_found(api: Any) -> None:
    api.ask("POST", "/v1/corrections", json=correction())
    assert api.ask("GET", "/v1/corrections/c-1").status_code == 404
    assert api.ask("GET", "/v1/corrections").json() == {"corrections": [], "total": 0}


def test_only_the_daemons_own_processes_ask_for_recorded_ids(api: Any, internal: str) -> None:
    assert api.ask("POST", "/v1/recorded", json={"ids": ["e-1"]}).status_code == 403
    answer = api.ask("POST", "/v1/recorded", token=internal, json={"ids": ["e-1"]})
    assert (answer.status_code, answer.json()) == (200, {"recorded": []})
