"""A day of real clients against the whole daemon, with a real vLLM: the record equals what was sent and answered, field by field.

What was sent and answered is read off the wire before and behind the gateway, and compared without the product's own code.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from kafka import KafkaProducer

from flywheel.journal import JournalKind
from tests.e2e.day_corrections import CREATED_AT, EXPECTED, ONE_BY_ONE, HandedIn, files_of
from tests.e2e.day_of_clients import WORKLOAD, Day, DoneDeed, SeenExchange, running_day
from tests.e2e.day_script import ALIAS, CAPS, DEFAULTS, PERSONAL, SCRIPT, SYSTEM_PROMPT, Answerer
from tests.e2e.expected_record import chunk_with_usage, differences, expected_answer, expected_request

pytestmark = [pytest.mark.e2e, pytest.mark.serving, pytest.mark.broker]
NAMES = [deed.name for deed in SCRIPT]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    with running_day(tmp_path_factory.mktemp("day")) as running:
        for deed in SCRIPT:
            running.runs(deed)
        running.waits(lambda: running.daemon.recorded() >= running.attempts or None, "the record of every request")
        running.recorder_counts = running.daemon.counts()
        yield running


@pytest.fixture(params=NAMES)
def done(request: pytest.FixtureRequest, day: Day) -> DoneDeed:
    return day.done[request.param]


# Requests and answers


def test_the_recorded_request_is_what_was_sent_and_what_is_marked_as_added(day: Day, done: DoneDeed) -> None:
    personal = PERSONAL if done.deed.personal else ()
    for exchange in done.exchanges:
        record = day.recorded(exchange)
        sent, served = json.loads(exchange.front.sent), json.loads(exchange.back.sent)
        values = {**DEFAULTS, **{name: most for name, most in CAPS.items() if sent.get(name) is not None}}
        marked = {"added": record["added"], "left_out": record["left_out"]}
        expected = expected_request(sent, system_prompt=SYSTEM_PROMPT, values=values, **marked)
        assert list(differences(expected, record["request"], personal=personal)) == []
        as_served = expected_request(served, left_out=record["left_out"])
        assert list(differences(as_served, record["request"], personal=personal)) == []


def test_the_recorded_answer_is_what_the_client_received(day: Day, done: DoneDeed) -> None:
    deed = done.deed
    for exchange in done.exchanges:
        recorded, front, back = day.recorded(exchange)["response"], exchange.front, exchange.back
        end = chunk_with_usage(back.answered) if deed.streams else None
        streamed = deed.streams and front.status == 200
        expected = expected_answer(front.answered, streamed=streamed, end=end) if front.answered else None
        if deed.outcome == "client_aborted" and expected is not None:
            assert_between(expected, recorded, expected_answer(back.answered, streamed=True))
        else:
            assert list(differences(expected, recorded, personal=PERSONAL if deed.personal else ())) == []


@pytest.mark.parametrize("name", [deed.name for deed in SCRIPT if deed.outcome == "ok"])
def test_the_usage_is_recorded_and_reaches_the_clients_that_asked_for_it(day: Day, name: str) -> None:
    done = day.done[name]
    for exchange in done.exchanges:
        assert day.recorded(exchange)["response"]["usage"]["prompt_tokens"] > 0
        if done.deed.streams:
            asked = json.loads(exchange.front.sent).get("stream_options", {}).get("include_usage", False)
            assert (chunk_with_usage(exchange.front.answered) is not None) == asked


def assert_between(received: Any, recorded: Any, answered: Any) -> None:
    """When a client closes its connection, the gateway may have got more than the client, and less than the server sent."""
    least, kept, most = (one["choices"][0]["message"].pop("content") for one in (received, dict(recorded), answered))
    assert len(least) > 0
    assert kept.startswith(least)
    assert most.startswith(kept)
    assert list(differences(received, recorded)) == []


def test_the_record_says_who_asked_and_how_it_ended(day: Day, done: DoneDeed) -> None:
    deed = done.deed
    for exchange in done.exchanges:
        record, front = day.recorded(exchange), exchange.front
        sent = json.loads(front.sent)
        expected = {
            "workload": WORKLOAD,
            "client": "tool-app",
            "adapter": "base",
            "arm": "champion",
            "attempt": 1,
            "status": deed.status,
            "outcome": deed.outcome,
            "left_out": list(deed.leaves_out),
            "text_only": False,
            "unreadable": "",
            "completion_id": completion_id_in(exchange, streamed=deed.streams),
            "request_id": front.answer_headers.get("x-flywheel-request", record["request_id"]),
            "client_request_id": front.headers.get("x-request-id", ""),
        }
        assert {name: record[name] for name in expected} == expected
        assert deed.error in (record["error"] or "")
        assert bool(record["error"]) == bool(deed.error)
        assert record["latency_ms"] > 0
        own_session = (front.headers.get("x-flywheel-session"), sent.get("user"), sent.get("safety_identifier"), record["request_id"])
        about = {
            "session": next(one for one in own_session if one),
            "dimensions": {name.rpartition("-")[2]: value for name, value in front.headers.items() if name.startswith("x-flywheel-dim-")},
        }
        assert list(differences(about, {name: record[name] for name in about}, personal=PERSONAL if deed.personal else ())) == []


def completion_id_in(exchange: SeenExchange, *, streamed: bool) -> str:
    """Empty where no answer came."""
    front = exchange.front
    found = expected_answer(front.answered, streamed=streamed) if front.status == 200 else None
    return str(found["id"]) if found else ""


@pytest.mark.parametrize("name", [deed.name for deed in SCRIPT if deed.fails])
def test_a_client_raises_its_own_exception(day: Day, name: str) -> None:
    done = day.done[name]
    assert done.told["raised"]["kind"] == done.deed.fails


@pytest.mark.parametrize("name", [deed.name for deed in SCRIPT if deed.outcome == "ok" and not deed.personal and deed.does != "tool_round"])
def test_an_application_got_what_the_record_says(day: Day, name: str) -> None:
    """What the client's library gave it, which is read from the bytes by other people's code."""
    done = day.done[name]
    choice, told = day.recorded(done.exchanges[-1])["response"]["choices"][0], done.told["done"]
    calls = [[call["function"]["name"], call["function"]["arguments"]] for call in choice["message"].get("tool_calls", ())]
    reasons = [choice["finish_reason"]]
    if done.deed.client == "litellm" and calls:
        reasons.append("tool_calls")  # LiteLLM says so of every call
    assert (told["text"] or "", told["calls"]) == (choice["message"]["content"] or "", calls)
    assert told["finish_reason"] in reasons
    if done.deed.does == "chat":
        assert told["id"] == day.recorded(done.exchanges[-1])["completion_id"]


@pytest.mark.parametrize("client", ["python", "node", "litellm"])
def test_tool_results_that_a_client_sends_back_name_the_recorded_calls(day: Day, client: str) -> None:
    done = day.done[f"{client}: tool round"]
    first, second = (day.recorded(exchange) for exchange in done.exchanges)
    calls = first["response"]["choices"][0]["message"]["tool_calls"]
    *_, assistant, result = second["request"]["messages"]
    assert [(call["id"], call["function"]) for call in assistant["tool_calls"]] == [(call["id"], call["function"]) for call in calls]
    assert result == {"role": "tool", "tool_call_id": calls[0]["id"], "content": '{"at": 7}' if client != "node" else '{"at":7}'}


def test_each_request_was_asked_once_and_is_recorded_once(day: Day) -> None:
    counts = {name: len(done.exchanges) for name, done in day.done.items()}
    assert counts == {deed.name: 2 if deed.does == "tool_round" else 1 for deed in SCRIPT}
    assert (day.recorder_counts["recorded"], day.recorder_counts["dead_lettered"]) == (day.attempts, 0)


def test_requests_at_the_same_time_are_not_mixed_up(day: Day) -> None:
    """Streams of three clients at once, paired by the ids that the clients gave them."""
    day.back.target = day.answerers[Answerer.VLLM]
    fronts, before = len(day.front.passages), day.daemon.recorded()

    def asks_four_times(name: str) -> None:
        for number in range(4):
            message = {"role": "user", "content": f"Count on from {name} {number}."}
            day.clients[name].does("stream", model=ALIAS, messages=[message], headers={"X-Request-ID": f"at-once-{name}-{number}"})

    with ThreadPoolExecutor(len(day.clients)) as pool:
        list(pool.map(asks_four_times, day.clients))
    day.waits(lambda: day.daemon.recorded() >= before + 4 * len(day.clients) or None, "the record of every request")
    for front in day.front.since(fronts):
        (back,) = (one for one in day.back.passages if one.headers.get("x-request-id") == front.headers["x-request-id"])
        record = day.recorded(SeenExchange(front=front, back=back))
        expected = expected_answer(front.answered, streamed=True, end=chunk_with_usage(back.answered))
        assert record["client_request_id"] == front.headers["x-request-id"]
        assert record["request"]["messages"][1:] == json.loads(front.sent)["messages"]
        assert list(differences(expected, record["response"])) == []


def test_personal_data_of_one_person_has_one_pseudonym(day: Day) -> None:
    record = day.recorded(day.done["personal data in a conversation"].exchanges[0])
    assert record["session"] == record["dimensions"]["customer"] == record["request"]["metadata"]["owner"] == record["request"]["user"]
    assert record["request"]["messages"][1]["content"] == f"I am Ana Lopez, {record['session']}"


def test_an_exchange_is_shown_on_the_command_line(day: Day) -> None:
    record = day.recorded(day.done["node: two calls"].exchanges[0])
    as_json = day.flywheel("exchange", "show", record["completion_id"], "--json")
    assert (as_json.returncode, json.loads(as_json.stdout)) == (0, record)
    page = day.flywheel("exchange", "show", record["request_id"]).stdout
    assert all(text in page for text in (record["request_id"], SYSTEM_PROMPT, "two calls", "call-1", "call-2", "temperature = 0.0"))


# What is not recorded


def test_other_routes_are_passed_on_counted_and_not_recorded(day: Day) -> None:
    before = day.daemon.recorded()
    for name in ("python", "node"):
        client = day.clients[name]
        day.back.target = day.answerers[Answerer.STUB]
        assert client.does("embeddings", model=ALIAS, inputs=["a", "b"])["vectors"] == 2 * [[0.5, -0.5, 0.25]]
        day.back.target = day.answerers[Answerer.VLLM]
        assert client.does("responses", model=ALIAS, text="hi", more={"max_output_tokens": 2})["model"] == ALIAS
        assert client.does("completions", model=ALIAS, text="hi", more={"max_tokens": 2})["model"] == ALIAS
        assert client.raises("embeddings", model=ALIAS, inputs=["a"])["code"] == "route_not_served"
    assert day.gateway_counts("flywheel_gateway_passed_through_total") == {
        ("embeddings", "200", WORKLOAD): 4,
        ("embeddings", "404", WORKLOAD): 2,
        ("responses", "200", WORKLOAD): 4,
        ("completions", "200", WORKLOAD): 4,
    }
    assert day.daemon.recorded() == before


@pytest.mark.parametrize("client", ["python", "node"])
def test_messages_that_nobody_can_read_are_refused_and_go_no_further(day: Day, client: str) -> None:
    asked, recorded = len(day.back.passages), day.daemon.recorded()
    raised = day.clients[client].raises("chat", model=ALIAS, messages="hi")
    assert (raised["kind"], raised["status"], "messages" in raised["message"]) == ("BadRequestError", 400, True)
    assert (len(day.back.passages), day.daemon.recorded()) == (asked, recorded)
    assert day.gateway_counts("flywheel_gateway_dropped_total") == {}


# Corrections


@dataclass(frozen=True, kw_only=True)
class DecidedCorrections:
    """``receipts``: of what was handed in one by one. ``lines``: by file, what the command line told of each."""

    receipts: Mapping[str, tuple[int, Any]]
    lines: Mapping[str, list[dict[str, Any]]]
    found: Mapping[tuple[str, str], dict[str, Any]]  # (source, id)


@pytest.fixture(scope="module")
def decided(day: Day, tmp_path_factory: pytest.TempPathFactory) -> DecidedCorrections:
    folder, receipts, lines = tmp_path_factory.mktemp("corrections"), {}, {}
    for one in ONE_BY_ONE:
        answer = day.hands_in(json.dumps(one.wire(WORKLOAD, day.id_of)).encode())
        receipts[one.id] = (answer.status_code, answer.json())
    for name, file in files_of(WORKLOAD, day.id_of).items():
        (folder / name).write_bytes(file.content)
        done = day.flywheel("corrections", "submit", str(folder / name), "--json", person="support-desk")
        assert done.returncode == bool(file.refused), done.stderr
        lines[name] = json.loads(done.stdout)["results"]
    found = {(one.source, one.id): day.waits(lambda one=one: _correction(day, one), f"a decision on {one.id}") for one in EXPECTED}
    return DecidedCorrections(receipts=receipts, lines=lines, found=found)


def _correction(day: Day, one: HandedIn) -> dict[str, Any] | None:
    """None while it has not been decided."""
    answer = day.asks_api(f"/v1/corrections/{one.id}", params={"source": one.source})
    found: dict[str, Any] = answer.json()
    return found if answer.status_code == 200 and (found["state"] != "submitted" or one.state == "submitted") else None


@pytest.mark.parametrize("one", EXPECTED, ids=lambda one: f"{one.source}-{one.id}")
def test_a_correction_is_decided_as_it_should(decided: DecidedCorrections, one: HandedIn) -> None:
    found = decided.found[one.source, one.id]
    assert (found["state"], one.reason in found["reason"]) == (one.state, True), found["reason"]
    corrected = found["joined"]["correction"]["corrected"]
    if "corrected" in one.body:
        assert list(differences(one.body["corrected"], corrected, personal=PERSONAL)) == []
    elif "corrected_calls" in one.body:
        assert json.loads(corrected) == [{"tool": call["name"], "arguments": call["arguments"]} for call in one.body["corrected_calls"]]
    else:
        assert corrected is None


@pytest.mark.parametrize("one", [one for one in ONE_BY_ONE if one.about and one.about[0] and one.id != "picture"], ids=lambda one: one.id)
def test_a_correction_is_joined_to_its_exchange(day: Day, decided: DecidedCorrections, one: HandedIn) -> None:
    assert one.about is not None
    done = day.done[one.about[0]]
    joined, record = decided.found[one.source, one.id]["joined"], day.recorded(done.exchanges[-1])
    assert joined["joined"] is True
    assert (joined["messages"], joined["tools"]) == (record["request"]["messages"], record["request"].get("tools", []))
    assert (joined["adapter"], joined["dimensions"]) == (record["adapter"], record["dimensions"])
    message = record["response"]["choices"][0]["message"]
    if done.deed.outcome != "ok":
        assert joined["original"] is None  # half of an answer is no answer
    elif calls := message.get("tool_calls"):
        expected = [{"tool": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])} for call in calls]
        assert json.loads(joined["original"]) == expected
    else:
        assert joined["original"] == message["content"]


def test_a_whole_conversation_is_kept_as_it_was_handed_in(decided: DecidedCorrections) -> None:
    (one,) = (one for one in EXPECTED if one.id == "conversation")
    joined = decided.found[one.source, one.id]["joined"]
    expected = expected_request(one.body)
    assert list(differences(expected["messages"], joined["messages"])) == []
    assert (joined["tools"], joined["dimensions"]) == (one.body["tools"], one.body["dimensions"])
    assert (joined["joined"], joined["original"]) == (False, "I do not know.")


def test_each_correction_is_taken_and_each_faulty_line_is_named(day: Day, decided: DecidedCorrections) -> None:
    assert {id: (status, receipt["result"]) for id, (status, receipt) in decided.receipts.items()} == {
        one.id: (202, "accepted") for one in ONE_BY_ONE
    }
    for name, file in files_of(WORKLOAD, day.id_of).items():
        refused = {line["line"]: line["error"] for line in decided.lines[name] if line["result"] == "refused"}
        assert refused.keys() == file.refused.keys()
        for number, reason in file.refused.items():
            assert reason in " ".join(map(str, refused[number].values()))
        assert len(decided.lines[name]) > len(refused)


@pytest.mark.usefixtures("decided")
def test_the_same_correction_again_is_known_and_another_under_its_id_is_refused(day: Day) -> None:
    first = ONE_BY_ONE[0].wire(WORKLOAD, day.id_of)
    assert day.hands_in(json.dumps(first, indent=1).encode()).json()["result"] == "duplicate"
    assert day.hands_in(json.dumps({**first, "corrected": "Blue."}).encode()).status_code == 409


def test_no_personal_data_of_a_correction_is_kept(decided: DecidedCorrections) -> None:
    found = decided.found["support-desk", "personal"]
    assert not any(value in json.dumps(found) for value in PERSONAL)
    assert found["joined"]["correction"]["redactions"] == 2


@pytest.mark.usefixtures("decided")
def test_what_cannot_be_read_on_a_topic_is_a_dead_letter_and_the_next_is_taken(day: Day) -> None:
    topics, before = day.settings.kafka.topics, day.daemon.recorded()
    producer = KafkaProducer(bootstrap_servers=day.settings.bootstrap)
    for topic in (topics.corrections, topics.traffic):
        producer.send(topic, b'{"half": "of an ev')
    producer.flush()
    producer.close()
    after = {"correction_id": "after", "workload_id": WORKLOAD, "source": "support-desk", "kind": "edit", "created_at": CREATED_AT}
    body = {**after, "author": {"name": "Ada"}, "messages": [{"role": "user", "content": "Is the desk open?"}], "corrected": "Yes."}
    assert day.hands_in(json.dumps(body).encode()).status_code == 202
    day.runs_again("python: plain")
    day.waits(lambda: _correction(day, HandedIn(id="after", body={})), "the next correction")
    day.waits(lambda: day.daemon.recorded() > before or None, "the next request")
    (entry,) = day.daemon.journal.entries(kind=JournalKind.DEAD_LETTER)
    letters = day.asks_api("/v1/dead-letters").json()["dead_letters"]
    assert entry.evidence["topic"] == topics.corrections
    assert {(letter["topic"], letter["size"]) for letter in letters} == {(topics.corrections, 18), (topics.traffic, 18)}


def test_no_log_holds_personal_data(day: Day) -> None:
    logs = [*day.settings.data_dir.glob("logs/*.log"), day.settings.data_dir / "up.log"]
    assert len(logs) > 3
    assert [(log.name, value) for log in logs for value in PERSONAL if value in log.read_text(errors="replace")] == []
