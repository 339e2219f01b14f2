"""The correction desk on the fake ledger: what becomes of each event, and of the same event again."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from flywheel.comparison import ComparisonPolicy
from flywheel.corrections.acceptance import AcceptancePolicy
from flywheel.corrections.correction import CorrectionState, qualified_id
from flywheel.errors import InvalidInput
from flywheel.ids import CorrectionId, Person, RequestId, WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from flywheel.regression_suite.case import Tier
from flywheel.regression_suite.golden import freeze
from flywheel.regression_suite.grade import grade
from flywheel.traffic.dead_letter import LetterCause, letter_id
from flywheel.traffic.features import columns_of
from flywheel.traffic.inference import Inference
from flywheel.traffic.redaction import CUT_MARK
from flywheel.training_set.curate import CurationPolicy, curate
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.slices import SlicePolicy
from services.correction_desk.attempt_twice import NotDecidable
from services.correction_desk.dead_letter import RecordPosition, dead_letter_entry, dead_letter_of, letter_notice
from services.correction_desk.decide_corrections import CorrectionDesk, CorrectionResult
from services.correction_desk.knowledge_gap_events import knowledge_gap_message
from services.correction_desk.wiring import CorrectionDeskParts, CorrectionRules
from services.integrations.kafka.event_codec import decode_correction
from services.ports.cloud_events import encode
from services.ports.traffic import RecordedInference, RecordingBatch
from services.stores.work_notes import WorkNotes
from tests.fakes.learn_ledger import FakeLearnLedger
from tests.learning import NOON, ROUTER, case, inference
from tests.traffic_stores import recording_store

SECOND = WorkloadId("second")
JOURNAL_LINE = JournalEntry(at=NOON, workload=ROUTER, kind=JournalKind.CORRECTION, subject="a", state="submitted", reason="waits")
CALL = '{"tool": "send", "arguments": {"to": "Ann"}}'


class Traffic:
    """Answers what the correction desk asks, and counts it."""

    def __init__(self) -> None:
        self.rows: dict[str, Inference] = {}
        self.read = 0

    def named(self, ids: Sequence[str], *, workload: WorkloadId) -> frozenset[str]:
        return frozenset(id for id in ids if id in self.rows and self.rows[id].workload == workload)

    def by_request(self, request_id: RequestId, *, workload: WorkloadId) -> RecordedInference | None:
        self.read += 1
        row = self.rows.get(request_id)
        return RecordedInference(inference=row, features={}) if row is not None and row.workload == workload else None


class MailRedactor:
    """``failures``: how often in a row a text with "poison" fails."""

    failures = 0
    error: Exception = ValueError("poison of ann@example.com")

    def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
        if "unsearchable" in text:
            return CUT_MARK, 1
        if "poison" in text and self.failures:
            self.failures -= 1
            raise self.error
        return re.subn(r"\S+@\S+", "<EMAIL_ADDRESS:0a1b2c3d>", text)


class Story:
    def __init__(self, *, held_out_share: float = 0.0) -> None:
        self.ledger, self.traffic, self.held_out_share = FakeLearnLedger(), Traffic(), held_out_share
        self.redactor = MailRedactor()
        self.notes = Path(tempfile.mkdtemp())
        self.restart()

    def restart(self) -> None:
        """A killed process keeps nothing but the ledger."""
        policy = AcceptancePolicy(trusted_sources=frozenset({"support-desk"}), held_out_share=self.held_out_share)
        self.desk = CorrectionDesk(
            CorrectionDeskParts(
                ledger=self.ledger,
                suite=self.ledger,
                traffic=self.traffic,  # type: ignore[arg-type]
                redactor=self.redactor,
                of_machine=(ConnectionAbortedError,),
                notes=WorkNotes(self.notes),
                decode=decode_correction,
                pseudonym_of=lambda name: f"<AUTHOR:{len(name):08x}>",
                knowledge_gap=lambda kept, now: knowledge_gap_message(kept, topic="gaps", now=now),
                rules={
                    workload: CorrectionRules(policy=policy, entity_keys=("dim:function",), slice_dimensions=("tenant",))
                    for workload in (ROUTER, SECOND)
                },
            )
        )

    def recorded(self, request: str, prompt: str, **changes: object) -> None:
        self.traffic.rows[request] = inference(request, prompt, **changes)

    def receive(self, name: str, *, corrected: str | None = CALL, now: datetime = NOON, **changes: object) -> CorrectionResult:
        return self.desk.receive(event(name, corrected=corrected, **changes), now=now)

    def state(self, name: str) -> CorrectionState:
        found = self.ledger.correction(qualified_id(ROUTER, "support-desk", name))
        assert found is not None
        return found.state


def event(name: str, *, corrected: str | None = CALL, **changes: object) -> bytes:
    data: dict[str, object] = {
        "correction_id": name,
        "workload_id": "router",
        "source": "support-desk",
        "kind": "edit",
        "request_id": f"r-{name}",
        "author": {"name": "Ada Lovelace"},
        "created_at": "2026-03-01T12:00:00Z",
        "submitted_by": "support-tool",
        "corrected": corrected,
    }
    data = {key: value for key, value in (data | changes).items() if value is not None}
    return encode(type="flywheel.correction.v1", id=name, workload=str(data["workload_id"]), time=NOON, data=data)


def test_an_accepted_correction_is_a_case_and_a_journal_line() -> None:
    story = Story()
    story.recorded("r-a", "send it to Ann", dimensions={"function": "send", "tenant": "acme"})
    decided = story.receive("a")
    assert (decided.state, decided.new) == (CorrectionState.ACCEPTED, True)
    (made,) = story.ledger.cases(ROUTER)
    assert (made.tier, made.entity, made.slice, made.grader.kind) == (Tier.RECURRENCE, "function=send", "tenant=acme", "tool_call")
    (line,) = story.ledger.journal.values()
    assert (line.kind, line.subject, line.state, line.caused_by) == ("correction", "router/support-desk:a", "accepted", "r-a")
    assert line.evidence["submitted_by"] == "support-tool"


def test_a_held_out_correction_is_a_held_out_case() -> None:
    story = Story(held_out_share=1.0 - 1e-9)
    story.recorded("r-a", "send it to Ann")
    story.receive("a")
    assert [one.tier for one in story.ledger.cases(ROUTER)] == [Tier.HELD_OUT]


def test_two_sources_number_their_corrections_from_one() -> None:
    story = Story()
    for name in ("a", "b"):
        story.recorded(f"r-{name}", f"send it to Ann {name * 20}")
    assert story.receive("1", request_id="r-a").state is CorrectionState.ACCEPTED
    assert story.receive("1", request_id="r-b", source="labels").state is CorrectionState.REVIEW
    assert story.receive("1", request_id="r-a").new is False
    assert [line.subject for line in story.ledger.journal.values()] == ["router/support-desk:1", "router/labels:1"]


def test_a_correction_that_an_older_version_stored_goes_on_under_its_id() -> None:
    story = Story()
    story.receive("a")
    waiting = story.ledger.by_given_id("a")[0]
    old = replace(waiting, joined=replace(waiting.joined, correction=replace(waiting.joined.correction, id=CorrectionId("a"))))
    story.ledger = FakeLearnLedger()
    story.ledger.keep(old, None, JOURNAL_LINE)
    story.restart()
    story.recorded("r-a", "send it to Ann")
    assert story.receive("a", now=NOON + timedelta(minutes=1)).state is CorrectionState.ACCEPTED
    assert [one.joined.correction.id for one in story.ledger.by_given_id("a")] == ["a"]


def test_the_same_event_again_changes_nothing_after_a_restart() -> None:
    story = Story()
    story.recorded("r-a", "send it to Ann")
    story.receive("a")
    before = (dict(story.ledger.journal), list(story.ledger.cases(ROUTER)))
    story.restart()
    again = story.receive("a", now=NOON + timedelta(hours=1))
    assert (again.state, again.new) == (CorrectionState.ACCEPTED, False)
    assert (dict(story.ledger.journal), list(story.ledger.cases(ROUTER))) == before


def test_duplicates_and_contradictions_are_found_after_a_restart() -> None:
    story = Story()
    for name in ("a", "b", "c"):
        story.recorded(f"r-{name}", "send it to Ann")
    story.receive("a")
    story.restart()
    assert story.receive("b").state is CorrectionState.DUPLICATE
    assert story.receive("c", corrected='{"tool": "send", "arguments": {"to": "Bob"}}').state is CorrectionState.CONTRADICTION
    assert len(story.ledger.cases(ROUTER)) == 1


def test_corrections_that_go_on_waiting_are_neither_read_nor_written() -> None:
    story = Story()
    for number in range(100):
        story.receive(f"w{number}")
    story.receive("a")
    story.recorded("r-a", "send it to Ann")
    read, lines = story.traffic.read, len(story.ledger.journal)
    assert story.desk.retry_waiting(now=NOON + timedelta(minutes=1)) == 1
    assert (story.traffic.read - read, len(story.ledger.journal) - lines) == (1, 1)
    assert story.desk.may_wait
    assert story.desk.retry_waiting(now=NOON + timedelta(minutes=11)) == 100
    assert not story.desk.may_wait


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=1), timedelta(days=365)])
def test_a_wait_that_began_in_the_future_begins_anew(ahead: timedelta) -> None:
    story = Story()
    story.receive("a", now=NOON + ahead)
    for minutes in (0, 9):
        assert story.desk.retry_waiting(now=NOON + timedelta(minutes=minutes)) == 0
    assert story.desk.retry_waiting(now=NOON + timedelta(minutes=10)) == 1
    assert story.ledger.by_given_id("a")[0].state is CorrectionState.REVIEW


def test_a_correction_waits_until_its_request_is_recorded() -> None:
    story = Story()
    decided = story.receive("a")
    assert (decided.state, decided.new) == (CorrectionState.SUBMITTED, False)
    assert story.desk.retry_waiting(now=NOON + timedelta(seconds=1)) == 0
    story.restart()
    story.recorded("r-a", "send it to Ann")
    assert story.desk.retry_waiting(now=NOON + timedelta(seconds=2)) == 1
    assert story.state("a") is CorrectionState.ACCEPTED
    assert [line.state for line in story.ledger.journal.values()] == ["submitted", "accepted"]


def test_a_workload_cannot_take_another_ones_ids() -> None:
    story = Story()
    theirs: dict[str, object] = {"request_id": None, "messages": [{"role": "user", "content": "and theirs?"}], "workload_id": "second"}
    assert story.receive("a", **theirs).new
    story.recorded("r-a", "send it")
    own = story.receive("a")
    assert (own.state, own.new) == (CorrectionState.ACCEPTED, True)
    assert {one.joined.correction.workload for one in story.ledger.by_given_id("a")} == {ROUTER, SECOND}


def test_a_request_that_never_comes_means_review_with_a_reason() -> None:
    story = Story()
    story.receive("a")
    story.receive("a", now=NOON + timedelta(minutes=9))  # sent again: the wait does not start anew
    assert story.desk.retry_waiting(now=NOON + timedelta(minutes=10)) == 1
    found = story.ledger.correction(qualified_id(ROUTER, "support-desk", "a"))
    assert found is not None
    assert found.state is CorrectionState.REVIEW
    assert "not recorded within 10 minutes" in found.reason


def test_a_correction_of_a_cut_request_is_rejected() -> None:
    story = Story()
    story.recorded("r-a", "send it", truncated=True)
    assert story.receive("a").state is CorrectionState.REJECTED


def test_personal_data_is_redacted_before_anything_is_saved() -> None:
    story = Story()
    story.receive(
        "a", corrected="write to ann@example.com", request_id=None, messages=[{"role": "user", "content": "mail ann@example.com"}]
    )
    found = story.ledger.correction(qualified_id(ROUTER, "support-desk", "a"))
    assert found is not None
    assert found.joined.correction.redactions == 2
    assert "ann@example.com" not in repr(story.ledger.__dict__)
    assert "Ada Lovelace" not in repr(story.ledger.__dict__)


@pytest.mark.parametrize(
    "given",
    [
        {"corrected": "unsearchable of Ann"},
        {"original": "unsearchable of Ann"},
        {"request_id": None, "messages": [{"role": "user", "content": "unsearchable of Ann"}]},
    ],
)
def test_a_correction_that_cannot_be_searched_is_cut_and_never_trains(given: dict[str, object]) -> None:
    story = Story()
    story.recorded("r-a", "send it to Bob", dimensions={"function": "send"})
    decided = story.receive("a", **given)
    assert decided.state is CorrectionState.REJECTED
    assert "cannot be trained on" in decided.reason
    assert not story.ledger.cases(ROUTER)
    assert "unsearchable" not in repr(story.ledger.__dict__)


def test_names_of_dimensions_are_redacted_like_their_values() -> None:
    story = Story()
    story.receive("a", request_id=None, messages=[{"role": "user", "content": "send"}], dimensions={"ann@example.com": "ann@example.com"})
    (kept,) = story.ledger.by_given_id("a")
    assert kept.joined.correction.inline.dimensions == {"<EMAIL_ADDRESS:0a1b2c3d>": "<EMAIL_ADDRESS:0a1b2c3d>"}


def test_a_fault_repeats_no_personal_data_of_a_key() -> None:
    with pytest.raises(InvalidInput) as raised:
        Story().receive("a", dimensions={"ann@example.com": 7})
    assert "ann@example.com" not in str(raised.value)


def test_the_authors_name_is_known_in_the_texts_of_a_correction() -> None:
    story, asked = Story(), []
    story.redactor.redact = lambda text, names=(): (asked.append(names), (text, 0))[1]  # type: ignore[method-assign]
    messages = [
        {"role": "user", "name": "Bob Ray", "content": "send"},
        {"role": "tool", "name": "Sender", "tool_call_id": "1", "content": ""},
    ]
    story.receive("a", request_id=None, messages=messages, comment="as Ada said")
    assert set(asked) == {("Ada Lovelace", "Bob Ray")}


MAIL = "ann@example.com"
CONVERSATION: list[dict[str, object]] = [
    {"role": "developer", "content": f"You help {MAIL} ."},
    {"role": "user", "name": "customer", "content": [{"type": "text", "text": f"I am {MAIL} ."}, {"type": "text", "text": "Send it"}]},
    {"role": "assistant", "content": None, "refusal": None,
     "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "find", "arguments": f'{{"mail": " {MAIL} "}}'}}]},
    {"role": "tool", "tool_call_id": "call_1", "content": f'{{"found": " {MAIL} "}}', "note": f"{MAIL} ."},
]  # fmt: skip
SEND: dict[str, object] = {
    "type": "function",
    "function": {
        "name": "send",
        "description": f"e.g. to {MAIL} .",
        "parameters": {"type": "object", "properties": {"to": {"type": "string"}}},
    },
}


def received_conversation(story: Story, name: str = "a", **changes: object) -> CorrectionResult:
    given: dict[str, object] = {
        "request_id": None,
        "messages": CONVERSATION,
        "tools": [SEND],
        "dimensions": {"function": "send", "tenant": "acme"},
        "original": {"role": "assistant", "content": "Sending.", "tool_calls": []},
        "corrected": None,
        "corrected_calls": [{"name": "send", "arguments": {"to": f"to {MAIL} ."}}, {"name": "send", "arguments": {"to": "Bob"}}],
    }
    return story.receive(name, **(given | changes))


def test_every_text_of_a_conversation_is_redacted_and_its_form_is_kept() -> None:
    story = Story()
    assert received_conversation(story).state is CorrectionState.ACCEPTED
    (kept,) = story.ledger.by_given_id("a")
    assert MAIL not in repr(story.ledger.__dict__)
    assert kept.joined.correction.redactions == 7
    roles = [message.role for message in kept.joined.messages]
    assert roles == ["developer", "user", "assistant", "tool"]
    (asked,) = kept.joined.messages[2].tool_calls
    assert (asked.id, asked.name, asked.value) == ("call_1", "find", {"mail": " <EMAIL_ADDRESS:0a1b2c3d> "})
    assert kept.joined.messages[3].tool_call_id == "call_1"
    assert isinstance(kept.joined.messages[1].content, tuple)
    assert kept.joined.original == "Sending."


def test_case_and_example_of_a_conversation_keep_its_tools_and_calls() -> None:
    story = Story()
    received_conversation(story)
    (made,) = story.ledger.cases(ROUTER)
    assert (made.entity, made.slice, made.grader.kind) == ("function=send", "tenant=acme", "tool_call")
    assert [call.name for message in made.messages for call in message.tool_calls] == ["find"]
    assert [tool["function"]["name"] for tool in made.tools] == ["send"]
    correct = json.loads(made.reference_answer)
    assert grade(case=made, answer=json.dumps(correct[::-1]), comparison=ComparisonPolicy()).correct
    assert not grade(case=made, answer=json.dumps(correct[:1]), comparison=ComparisonPolicy()).correct
    result = curate(
        workload=ROUTER,
        corrections=story.ledger.corrections(ROUTER),
        general=[],
        protected_cases=[],
        policy=CurationPolicy(general_share=0.0),
        comparison=ComparisonPolicy(),
        cut_off=NOON,
    )
    assert result.snapshot is not None
    (example,) = result.snapshot.examples
    assert (example.prompt, [call.name for call in example.answer.tool_calls]) == (made.prompt, ["send", "send"])


def test_conversations_that_differ_in_a_call_or_a_tool_are_two_lessons() -> None:
    story = Story()
    called: list[dict[str, object]] = json.loads(json.dumps(CONVERSATION).replace("find", "look_up"))
    results = [
        received_conversation(story, "a"),
        received_conversation(story, "b", messages=called, corrected_calls=[{"name": "send", "arguments": {"to": "Eve"}}]),
        received_conversation(story, "c", tools=[], corrected_calls=[{"name": "send", "arguments": {"to": "Eve"}}]),
        received_conversation(story, "d", messages=json.loads(json.dumps(CONVERSATION).replace("call_1", "call_9"))),
    ]
    accepted, duplicate = CorrectionState.ACCEPTED, CorrectionState.DUPLICATE
    assert [one.state for one in results] == [accepted, accepted, accepted, duplicate]


def test_an_inline_request_with_a_picture_is_rejected_with_the_place_of_the_picture() -> None:
    story = Story()
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400}}
    decided = story.receive("a", request_id=None, messages=[{"role": "user", "content": [picture]}])
    assert decided.state is CorrectionState.REJECTED
    assert "messages[0].content[0].image_url.url is not kept as it was sent" in decided.reason


@pytest.mark.parametrize("id", ["req-1", "chatcmpl-1", "order-1"])
def test_a_correction_joins_by_our_id_the_completions_or_the_clients(tmp_path: Path, id: str) -> None:
    """On the real store: the tool that collects edits often has one of these ids only."""
    story = Story()
    store = recording_store(tmp_path, shapes={ROUTER: PaneShape(pane=timedelta(seconds=10), slices=SlicePolicy())})
    one = inference("req-1", "send it to Ann", client_request_id="order-1")
    one = replace(one, exchange=replace(one.exchange, completion_id="chatcmpl-1"))
    rows = [RecordedInference(inference=one, features=columns_of(one, valid_format=None))]
    store.record(RecordingBatch(advances=[], rows=rows, recorded_at=NOON))
    story.traffic = store  # type: ignore[assignment]
    story.restart()
    assert story.receive("a", request_id=id).state is CorrectionState.ACCEPTED
    assert story.receive("b", request_id=id + "-unknown").state is CorrectionState.SUBMITTED
    (waiting,) = story.ledger.by_given_id("b")
    assert waiting.reason == "no request with this id is recorded yet: our id, the completion's or the client's"


def test_case_and_example_contain_the_same_surrogates() -> None:
    story = Story()
    story.receive(
        "a", corrected="write to ann@example.com", request_id=None, messages=[{"role": "user", "content": "mail ann@example.com"}]
    )
    (made,) = story.ledger.cases(ROUTER)
    result = curate(
        workload=ROUTER,
        corrections=story.ledger.corrections(ROUTER),
        general=[],
        protected_cases=[],
        policy=CurationPolicy(general_share=0.0),
        comparison=ComparisonPolicy(),
        cut_off=NOON,
    )
    assert result.snapshot is not None
    (example,) = result.snapshot.examples
    assert example.messages == made.messages
    assert example.completion == made.reference_answer
    assert "<EMAIL_ADDRESS" not in made.reference_answer


def test_a_knowledge_gap_is_an_event_and_no_case() -> None:
    story = Story()
    story.recorded("r-a", "who leads?")
    assert story.receive("a", corrected="Berta leads.", reason_code="outdated").state is CorrectionState.KNOWLEDGE_GAP
    (message,) = story.ledger.outbox.values()
    data: Mapping[str, object] = json.loads(message.value)["data"]
    assert (message.topic, data["correction_id"], data["corrected"]) == ("gaps", "a", "Berta leads.")
    assert story.ledger.cases(ROUTER) == []


def test_a_golden_set_excludes_from_the_moment_it_is_frozen() -> None:
    story = Story()
    golden = freeze(cases=[case("g", "x", entity="function=send")], workload=ROUTER, version=1, by=Person("ada"), now=NOON)
    story.recorded("r-a", "first", dimensions={"function": "book"})
    story.receive("a")
    story.ledger.freeze_golden(golden, replace(next(iter(story.ledger.journal.values())), subject="golden"))
    story.recorded("r-b", "second", dimensions={"function": "send"})
    story.receive("b")
    assert [one.tier for one in story.ledger.cases(ROUTER)] == [Tier.RECURRENCE, Tier.HELD_OUT]


def test_a_correction_accepted_meanwhile_makes_the_next_a_duplicate() -> None:
    story, other = Story(), Story()
    for one in (story, other):
        one.recorded("r-a", "send it to Ann")
        one.recorded("r-b", "send it to Ann")
        one.recorded("r-warm", "something else")
    story.receive("warm")
    other.ledger = story.ledger
    other.restart()
    other.receive("a")
    assert story.receive("b").state is CorrectionState.DUPLICATE


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b"\xff\x00", "$"),
        (b"{}", "$"),
        (event("a", workload_id="unheard-of"), "$.data.workload_id"),
        (event("a", corrected=None), "$.data"),
        (event("a", colour="red"), "$.data"),
    ],
)
def test_an_unreadable_event_names_its_fault_and_saves_nothing(raw: bytes, where: str) -> None:
    story = Story()
    with pytest.raises(InvalidInput) as caught:
        story.desk.receive(raw, now=NOON)
    assert caught.value.where.startswith(where)
    assert not story.ledger.journal


def test_an_event_that_fails_twice_is_given_up_and_the_next_one_is_decided() -> None:
    story = Story()
    for name in ("a", "b"):
        story.recorded(f"r-{name}", f"send it to Ann {name * 20}")
    story.redactor.failures = 2
    poison = event("a", corrected="poison")
    with pytest.raises(NotDecidable) as caught:
        story.desk.receive(poison, now=NOON)
    assert "ValueError at tests." not in caught.value.reason
    assert caught.value.reason.startswith("it cannot be decided: ValueError at services.correction_desk.decide_corrections:")
    assert story.receive("b").state is CorrectionState.ACCEPTED
    place = RecordPosition(topic="corrections", partition=0, offset=7, time=NOON)
    letter = dead_letter_of(poison, at=place, error=caught.value, claimed=("e", "router"), known={"router"})
    line = dead_letter_entry(letter)
    assert (letter.cause, letter.workload) == (LetterCause.FAILED, "router")
    for told in (letter.reason, letter_notice(letter).decode(), line.reason, str(dict(line.evidence))):
        assert "ann@example.com" not in told


def test_an_event_that_fails_once_is_decided() -> None:
    story = Story()
    story.recorded("r-a", "send it to Ann")
    story.redactor.failures = 1
    assert story.receive("a", corrected="poison").state is CorrectionState.ACCEPTED


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ConnectionAbortedError(), MemoryError()])
def test_a_failure_of_the_machine_gives_nothing_up(error: Exception) -> None:
    story = Story()
    story.recorded("r-a", "send it to Ann")
    story.redactor.failures, story.redactor.error = 9, error
    with pytest.raises(type(error)):
        story.receive("a", corrected="poison")
    assert story.redactor.failures == 8
    story.redactor.failures = 0
    assert story.receive("a", corrected="poison").state is CorrectionState.ACCEPTED


def test_a_waiting_correction_that_fails_twice_is_reviewed_and_the_others_are_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story()
    for name in ("a", "b"):
        assert story.receive(name).state is CorrectionState.SUBMITTED
        story.recorded(f"r-{name}", f"send it to Ann {name * 20}")

    def by_request(request_id: RequestId, *, workload: WorkloadId) -> RecordedInference | None:
        if request_id == "r-a":
            raise KeyError("choices")
        return RecordedInference(inference=story.traffic.rows[request_id], features={})

    monkeypatch.setattr(story.traffic, "by_request", by_request)
    assert story.desk.retry_waiting(now=NOON + timedelta(seconds=1)) == 2
    assert (story.state("a"), story.state("b")) == (CorrectionState.REVIEW, CorrectionState.ACCEPTED)
    found = story.ledger.correction(qualified_id(ROUTER, "support-desk", "a"))
    assert found is not None
    assert found.reason.startswith("it cannot be decided: KeyError at ")


def test_a_waiting_correction_at_which_processes_died_is_reviewed(monkeypatch: pytest.MonkeyPatch) -> None:
    story, died = Story(), []
    for name in ("a", "b"):
        assert story.receive(name).state is CorrectionState.SUBMITTED
        story.recorded(f"r-{name}", f"send it to Ann {name * 20}")

    class Death(BaseException):
        """No finally of ours runs when a process dies; here the note is put back."""

    def by_request(request_id: RequestId, *, workload: WorkloadId) -> RecordedInference | None:
        if request_id == "r-a":
            died.append({file: file.read_bytes() for file in story.notes.iterdir()})
            raise Death
        return RecordedInference(inference=story.traffic.rows[request_id], features={})

    monkeypatch.setattr(story.traffic, "by_request", by_request)
    for _ in range(3):
        story.restart()
        with pytest.raises(Death):
            story.desk.retry_waiting(now=NOON + timedelta(seconds=1))
        for file, note in died[-1].items():
            file.write_bytes(note)
    story.restart()
    story.desk.retry_waiting(now=NOON + timedelta(seconds=1))
    assert (story.state("a"), story.state("b")) == (CorrectionState.REVIEW, CorrectionState.ACCEPTED)
    assert len(died) == 3


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("a figure where the model wrote #", {"original": "You are caller # in the queue.", "corrected": "You are caller 3 in the queue."}),
        ("# where the model wrote a figure", {"original": "You are caller 3 in the queue.", "corrected": "You are caller # in the queue."}),
        ("half an emoji inside a JSON answer", {"corrected": '{"tool":"send","arguments":{"text":"ok \\ud83d"}}'}),
        ("half an emoji inside JSON text", {"corrected": '["ok \\ud83d"]', "original": '["ok"]'}),
        ("a key twice", {"corrected": '{"a":1,"a":2}', "original": '{"a":2}'}),
        ("deep JSON", {"corrected": "[" * 900 + "]" * 900, "original": "[" * 901 + "]" * 901}),
        ("beyond a double", {"corrected": '{"tool":"f","arguments":{"n":1e400}}', "original": "1e400"}),
        ("a number of 10,000 digits", {"corrected": f"[{'9' * 10_000}]", "original": "9" * 10_000}),
        ("a null character", {"corrected": '{"tool":"f","arguments":{"n":"\\u0000"}}', "original": "\x00"}),
    ],
)  # fmt: skip
def test_texts_that_break_parsers_are_decided(kind: str, changes: dict[str, str]) -> None:
    story = Story()
    messages = [{"role": "user", "content": "Where am I?"}]
    decided = story.receive("a", request_id=None, messages=messages, **changes)
    assert decided.state in (CorrectionState.ACCEPTED, CorrectionState.KNOWLEDGE_GAP), kind
    assert story.receive("b", request_id=None, messages=messages, **changes).new


def test_notice_and_journal_line_of_a_dead_letter_hold_nothing_of_the_event() -> None:
    place = RecordPosition(topic="corrections", partition=0, offset=7, time=NOON)
    error = InvalidInput("is not JSON", where="$", remedy="Fix it.")
    letter = dead_letter_of(b"\xff secret", at=place, error=error, claimed=("", "someone's text"), known={"router"})
    told = json.loads(letter_notice(letter))
    assert (told["letter"], told["error"], told["offset"], told["cause"], told["bytes"]) == (letter.id, "is not JSON", 7, "unreadable", 8)
    line = dead_letter_entry(letter)
    assert (line.workload, line.subject) == ("", letter_id("corrections", b"\xff secret"))
    for text in (letter_notice(letter).decode(), repr(line)):
        assert "secret" not in text
        assert "someone" not in text
