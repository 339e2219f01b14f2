from dataclasses import replace
from datetime import timedelta

import pytest

from flywheel.comparison import ComparisonPolicy
from flywheel.corrections.correction import CorrectionState
from flywheel.regression_suite.case import Case, Tier
from flywheel.traffic.message import Message, TextPart, ToolCall
from flywheel.training_set.curate import CurationPolicy, CurationResult, curate
from flywheel.training_set.example import Example, answer_message
from flywheel.training_set.leakage import Touch, find
from flywheel.training_set.snapshot import example_of, id_of, line
from services.ports.corrections import KeptCorrection
from tests.learning import NOON, ROUTER, case, general, kept

PLACES = ["Oslo", "Cairo", "Lima", "Quebec", "Perth", "Hanoi", "Nairobi", "Zagreb", "Tbilisi", "Seville"]


def fix(number: int, **changes: object) -> KeptCorrection:
    values: dict[str, object] = {
        "entity": f"e{number}",
        "prompt": f"{PLACES[number % 10]} {number * 7919} {PLACES[(number * 3) % 10]} by train",
    }
    return kept(f"c{number}", **(values | changes))  # type: ignore[arg-type]


def curated(
    corrections: list[KeptCorrection], *, cases: list[Case] | None = None, rows: list[Example] | None = None, **policy: float
) -> CurationResult:
    return curate(
        workload=ROUTER,
        corrections=corrections,
        general=rows if rows is not None else [general(number) for number in range(50)],
        protected_cases=cases or [],
        policy=CurationPolicy(**policy),  # type: ignore[arg-type]
        comparison=ComparisonPolicy(),
        cut_off=NOON + timedelta(hours=1),
    )


def ids(result: CurationResult) -> set[str]:
    assert result.snapshot is not None
    return {str(row.correction) for row in result.snapshot.examples if row.correction}


def test_accepted_fixes_become_examples_with_the_general_share_beside_them() -> None:
    result = curated([fix(number) for number in range(20)], general_share=0.2)
    assert result.snapshot is not None
    assert result.snapshot.counts["correction"] == 20
    assert result.snapshot.counts["general"] == 5
    assert result.leakage.clean


def test_the_same_inputs_in_any_order_are_the_same_snapshot() -> None:
    fixes = [fix(number) for number in range(20)]
    one, other = curated(fixes), curated(fixes[::-1])
    assert one.snapshot is not None
    assert other.snapshot is not None
    assert one.snapshot.id == other.snapshot.id
    assert one.snapshot.examples == other.snapshot.examples


def test_one_row_more_is_another_snapshot() -> None:
    one, other = curated([fix(1), fix(2)]), curated([fix(1), fix(2), fix(3)])
    assert one.snapshot is not None
    assert other.snapshot is not None
    assert one.snapshot.id != other.snapshot.id


def test_held_out_and_unaccepted_fixes_do_not_train() -> None:
    result = curated([fix(1), fix(2, held_out=True), fix(3, state=CorrectionState.REVIEW), fix(4, state=CorrectionState.CONTRADICTION)])
    assert ids(result) == {"c1"}


def test_the_entity_of_a_held_out_fix_takes_trained_rows_with_it() -> None:
    result = curated([fix(1), fix(2, entity="shared"), fix(3, entity="shared", held_out=True)])
    assert ids(result) == {"c1"}
    assert result.dropped["protected_entity_dropped"] == 1


def test_nothing_decided_after_the_cut_off_is_in() -> None:
    result = curated([fix(1), fix(2, after=timedelta(hours=2))])
    assert ids(result) == {"c1"}
    assert result.dropped["after_cut_off"] == 1


def test_rows_that_leak_from_a_golden_case_are_dropped() -> None:
    long = "please send the blue parcel to the house of my aunt in Lyon today"
    fixes = [fix(1), fix(2, prompt="exactly golden"), fix(3, prompt=f"{long}!"), fix(4, entity="golden-entity-4")]
    cases = [case("a", "Exactly  golden"), case("b", long), case("c", "unlike all", entity="golden-entity-4")]
    result = curated(fixes, cases=cases)
    assert ids(result) == {"c1"}
    assert {touch: result.dropped[f"protected_{touch}_dropped"] for touch in Touch} == dict.fromkeys(Touch, 1)
    assert result.leakage.clean
    assert result.leakage.cases == 3


def test_a_recurrence_case_protects_nothing_because_it_is_trained_on() -> None:
    result = curated([fix(1)], cases=[case("own", f"Cairo {7919} Quebec by train", tier=Tier.RECURRENCE, entity="e1")])
    assert ids(result) == {"c1"}


def test_exact_and_near_repeats_are_dropped_and_counted() -> None:
    long = "please send the blue parcel to the house of my aunt in Lyon today"
    fixes = [fix(1, prompt=long, entity="e"), fix(2, prompt=f"{long} ", entity="e"), fix(3, prompt=f"{long}!", entity="e")]
    result = curated([*fixes, fix(4)])
    assert ids(result) == {"c1", "c4"}
    assert result.dropped == {"duplicates_dropped": 1, "near_duplicates_dropped": 1}
    assert result.snapshot is not None
    assert any("faulty source" in warning for warning in result.snapshot.warnings)


def test_contradictory_rows_are_all_dropped() -> None:
    fixes = [fix(1), fix(2, prompt="same", entity="e", corrected="yes"), fix(3, prompt="same", entity="e", corrected="no")]
    result = curated(fixes)
    assert ids(result) == {"c1"}
    assert result.dropped["contradictory_dropped"] == 2


def in_conversation(one: KeptCorrection, *turns: str, system: str = "You are the assistant of a shop.") -> KeptCorrection:
    """The same correction after other turns: of user and assistant by turns, the user's first."""
    told = [Message(role="user" if at % 2 == 0 else "assistant", content=turn) for at, turn in enumerate(turns)]
    return replace(one, joined=replace(one.joined, messages=(Message(role="system", content=system), *told)))


def test_the_same_question_about_two_contexts_trains_twice_unless_the_answer_is_the_same() -> None:
    question = "How much does it cost when I pay once a year?"
    fixes = [
        in_conversation(fix(1, entity="e", corrected="490"), question, system="Context: the pro plan costs 490 a year."),
        in_conversation(fix(2, entity="e", corrected="99"), question, system="Context: the basic plan is 99 a year, 9 a month."),
        in_conversation(fix(3, entity="e", corrected="490"), question, system="Context: pro plan, a year: 490."),
        in_conversation(fix(4, entity="e", corrected="Ask us"), question + "?", system="Context: the pro plan costs 490 a year."),
    ]
    result = curated(fixes)
    assert ids(result) == {"c1", "c2"}
    assert result.dropped == {"near_duplicates_dropped": 2}


def test_one_held_out_yes_please_protects_its_own_conversation_only() -> None:
    protected = in_conversation(fix(1), "My plan is too dear", "Shall I cancel it?", "Yes please").joined.messages
    golden = replace(case("g", "x"), messages=protected)
    result = curated(
        [
            in_conversation(fix(2), "My plan has run out", "Shall I renew it?", "Yes please"),
            in_conversation(fix(3), "My plan is too dear", "Shall I cancel it?", "yes please!"),
        ],
        cases=[golden],
    )
    assert ids(result) == {"c2"}
    assert result.dropped == {"protected_near_dropped": 1}


@pytest.mark.parametrize("before", [(), ("Hi", "Hello! How can I help?")])
def test_a_near_duplicate_of_a_protected_question_never_trains_whatever_stands_around_it(before: tuple[str, ...]) -> None:
    golden = case("g", "How do I cancel my subscription to the pro plan?")
    text = "how do I cancel my subscription to the pro plan"
    result = curated([in_conversation(fix(1), *before, text, system="Context: nothing found."), fix(2)], cases=[golden])
    assert ids(result) == {"c2"}


def test_general_rows_that_touch_a_case_are_left_out() -> None:
    rows = [general(number) for number in range(4)]
    result = curated([fix(1)], rows=rows, cases=[case("g", rows[0].messages[0].content, tier=Tier.GENERAL)], general_share=0.9)
    assert result.snapshot is not None
    assert rows[0].id not in {row.id for row in result.snapshot.examples}
    assert result.snapshot.counts["general"] == 3


def test_nothing_left_means_no_snapshot_and_a_reason() -> None:
    result = curated([fix(1, held_out=True)])
    assert result.snapshot is None
    assert "at least 1" in result.reason


def test_a_small_and_unsigned_set_is_warned_about() -> None:
    result = curated([fix(1)])
    assert result.snapshot is not None
    assert any("under 500" in warning for warning in result.snapshot.warnings)
    assert any("not signed" in warning for warning in result.snapshot.warnings)
    assert result.snapshot.audit == "not signed"


def test_examples_hold_surrogates_and_never_pseudonyms() -> None:
    result = curated([fix(1, prompt="mail <EMAIL_ADDRESS:0a1b2c3d> now", corrected="sent to <EMAIL_ADDRESS:0a1b2c3d>")], general_share=0.0)
    assert result.snapshot is not None
    (row,) = result.snapshot.examples
    assert "<EMAIL" not in line(row)
    assert row.completion.removeprefix("sent to ") in row.messages[1].content


TOOLS = ({"type": "function", "function": {"name": "send", "description": "To <EMAIL_ADDRESS:0a1b2c3d>"}},)
CALL = ToolCall(id="c1", name="send", arguments='{"to": "<EMAIL_ADDRESS:0a1b2c3d>"}')


def asked_with_tools(number: int, corrected: str) -> KeptCorrection:
    """A correction of a request with tools, a call in its history, its result, and a text in parts."""
    found = fix(number, corrected=corrected)
    messages = (
        *found.joined.messages,
        Message(role="assistant", tool_calls=(CALL,)),
        Message(role="tool", content=f"failed {number}", tool_call_id="c1"),
        Message(role="user", content=(TextPart(text="again"), TextPart(text="please"))),
    )
    settings = {"tool_choice": "auto"}
    return replace(found, joined=replace(found.joined, messages=messages, tools=TOOLS, settings=settings))


def test_tools_calls_and_results_of_the_request_stand_in_the_row() -> None:
    result = curated([asked_with_tools(1, '{"tool": "send", "arguments": {"to": "<EMAIL_ADDRESS:0a1b2c3d>"}}')], general_share=0.0)
    assert result.snapshot is not None
    (row,) = result.snapshot.examples
    assert [message.role for message in row.messages] == ["system", "user", "assistant", "tool", "user"]
    assert row.messages[3].tool_call_id == "c1"
    assert row.messages[4].content == (TextPart(text="again"), TextPart(text="please"))
    assert row.settings == {"tool_choice": "auto"}
    (called,) = row.messages[2].tool_calls
    (answered,) = row.answer.tool_calls
    assert row.answer.content is None
    assert (answered.name, answered.value) == ("send", called.value)
    assert called.value["to"] in row.tools[0]["function"]["description"]  # one pseudonym, one surrogate
    assert "<EMAIL" not in line(row)
    assert example_of(line(row)) == row


@pytest.mark.parametrize(
    ("corrected", "calls"),
    [
        ('{"tool": "send", "arguments": {"to": "a"}}', [("send", {"to": "a"})]),
        ('[{"tool": "send", "arguments": {}}, {"tool": "send", "arguments": {"to": "b"}}]', [("send", {}), ("send", {"to": "b"})]),
        ('{"tool": "delete", "arguments": {}}', []),  # not offered: a text that looks like a call
        ('{"tool": "send"}', []),
        ("I have sent it.", []),
    ],
)
def test_an_answer_is_a_call_where_it_calls_what_the_request_offers(corrected: str, calls: list[tuple[str, object]]) -> None:
    answer = answer_message(corrected, tools=TOOLS)
    assert [(call.name, call.value) for call in answer.tool_calls] == calls
    assert answer.content == (None if calls else corrected)
    assert answer_message(corrected, tools=()).content == corrected  # a task whose answers are JSON stays one of texts


def test_a_row_of_an_earlier_version_is_read_and_hashed_as_it_was() -> None:
    """Its id in a file of 0.1.0."""
    row = (
        '{"completion":"yes","correction":"c1","entity":"e","id":"example-1","messages":[{"content":"S","role":"system"},'
        '{"content":"Ä?","role":"user"}],"rejected":null,"source":"correction"}'
    )
    assert line(example_of(row)) == row
    assert id_of(workload=ROUTER, examples=[example_of(row)]) == "snapshot-788a1034c6c9b8ce"


def test_a_row_reads_back_as_it_was_written() -> None:
    result = curated([fix(number) for number in range(5)])
    assert result.snapshot is not None
    back = [example_of(line(row)) for row in result.snapshot.examples]
    assert tuple(back) == result.snapshot.examples
    assert id_of(workload=ROUTER, examples=back) == result.snapshot.id


def test_a_leak_is_reported_with_the_row_the_way_and_the_case() -> None:
    row = general(1)
    golden = case("g", row.messages[0].content)
    report = find(examples=[row], cases=[golden], near_duplicate=0.7)
    assert not report.clean
    assert (report.leaks[0].example, report.leaks[0].touch, report.leaks[0].case) == (row.id, Touch.EXACT, golden.id)
    assert report.count(Touch.EXACT) == 1
