from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flywheel.corrections import acceptance
from flywheel.corrections.acceptance import AcceptancePolicy, AcceptedSoFar, CorrectionOutcome, ExclusionSet
from flywheel.corrections.correction import CorrectionKind, CorrectionState, JoinedCorrection
from flywheel.corrections.join_inference import join
from flywheel.corrections.near_duplicates import NearPrompts
from flywheel.ids import CorrectionId, derive
from flywheel.traffic.message import Message
from tests.learning import ask, correction, inference, joined

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRUSTING = AcceptancePolicy(trusted_sources=frozenset({"support-desk"}), held_out_share=0.0)


class Desk:
    """Decides one after the other, as the service does."""

    def __init__(self, policy: AcceptancePolicy = TRUSTING, golden: ExclusionSet | None = None) -> None:
        self.so_far = AcceptedSoFar(policy)
        self.policy, self.golden = policy, golden or ExclusionSet()

    def decide(self, one: JoinedCorrection) -> CorrectionOutcome:
        outcome = acceptance.decide(joined=one, so_far=self.so_far, golden=self.golden, policy=self.policy)
        if outcome.state is CorrectionState.ACCEPTED:
            self.so_far.add(joined=one, entity=outcome.entity, held_out=outcome.held_out)
        return outcome


def test_a_behaviour_edit_of_a_trusted_source_is_accepted_and_trains() -> None:
    outcome = Desk().decide(joined())
    assert outcome.state is CorrectionState.ACCEPTED
    assert not outcome.held_out
    assert "trusted" in outcome.reason


def test_an_untrusted_source_waits_for_review_whatever_author_it_claims() -> None:
    outcome = Desk(AcceptancePolicy()).decide(joined(author="the boss"))
    assert outcome.state is CorrectionState.REVIEW
    assert "not trusted" in outcome.reason


def test_a_rating_has_no_correct_answer_and_waits_for_review() -> None:
    assert Desk().decide(joined(corrected=None, kind=CorrectionKind.RATING)).state is CorrectionState.REVIEW


def test_a_wrong_fact_is_a_knowledge_gap_even_from_a_trusted_source() -> None:
    assert Desk().decide(joined(reason_code="wrong_fact")).state is CorrectionState.KNOWLEDGE_GAP


def test_the_same_prompt_and_answer_is_a_duplicate_of_the_first() -> None:
    desk = Desk()
    desk.decide(joined("first", "Where is my  parcel", '{"tool": "t", "arguments": {"a": 1, "b": 2}}'))
    outcome = desk.decide(joined("second", "where is my parcel", '{"arguments":{"b":2,"a":1},"tool":"t"}'))
    assert outcome.state is CorrectionState.DUPLICATE
    assert outcome.evidence["other"] == "first"


def test_the_same_prompt_with_another_answer_is_held_as_a_contradiction() -> None:
    desk = Desk()
    desk.decide(joined("first", corrected="yes"))
    outcome = desk.decide(joined("second", corrected="no"))
    assert outcome.state is CorrectionState.CONTRADICTION
    assert outcome.evidence["other"] == CorrectionId("first")


def test_the_same_words_asked_of_another_tool_contradict_nothing() -> None:
    desk = Desk()
    desk.decide(joined("first", corrected="yes", entity="function=a"))
    assert desk.decide(joined("second", corrected="no", entity="function=b")).state is CorrectionState.ACCEPTED


def conversation(*turns: str, system: str = "") -> tuple[Message, ...]:
    """Turns of user and assistant by turns, the user's first."""
    told = [Message(role="user" if at % 2 == 0 else "assistant", content=turn) for at, turn in enumerate(turns)]
    return (*([Message(role="system", content=system)] if system else []), *told)


CONTEXT = "You are a shop's assistant. Be brief. "


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (
            "another question before the same reply",
            conversation("My plan!", "Shall I cancel it?", "Yes please", system=CONTEXT),
            conversation("My plan!", "Shall I renew it?", "Yes please", system=CONTEXT),
        ),
        (
            "another context in the system text",
            conversation("What does it cost?", system=CONTEXT + "The pro plan is the customer's: 49 dollars a month, 490 a year."),
            conversation("What does it cost?", system=CONTEXT + "Our customer has bought a lamp and a table, 20 and 99 dollars."),
        ),
        (
            "another tool result",
            (*conversation("2"), Message(role="tool", content='{"options": ["red", "blue"]}'), *conversation("2")),
            (*conversation("2"), Message(role="tool", content='{"options": ["car", "bicycle"]}'), *conversation("2")),
        ),
    ],
)
def test_the_same_words_in_another_conversation_are_two_lessons(kind: str, one: tuple[Message, ...], other: tuple[Message, ...]) -> None:
    desk = Desk()
    first = desk.decide(replace(joined("first", corrected="I cancelled it."), messages=one))
    second = desk.decide(replace(joined("second", corrected="I renewed it."), messages=other))
    assert (first.state, second.state) == (CorrectionState.ACCEPTED, CorrectionState.ACCEPTED), kind
    assert first.prompt_key != second.prompt_key
    assert first.entity != second.entity
    again = desk.decide(replace(joined("again", corrected="I cancelled it."), messages=one))
    other_way = desk.decide(replace(joined("other way", corrected="I did not."), messages=one))
    assert (again.state, other_way.state) == (CorrectionState.DUPLICATE, CorrectionState.CONTRADICTION)


def test_a_held_out_reply_does_not_hold_out_every_other_one() -> None:
    desk = Desk(AcceptancePolicy(trusted_sources=frozenset({"support-desk"}), held_out_share=1.0))
    first = conversation("My plan!", "Shall I cancel it?", "Yes please")
    assert desk.decide(replace(joined("first"), messages=first)).held_out
    desk.policy = TRUSTING
    assert not desk.decide(replace(joined("second"), messages=conversation("A gift", "Shall I wrap it in red?", "Yes please"))).held_out
    assert desk.decide(replace(joined("third"), messages=conversation("My plan!", "Shall I cancel it?", "Yes please!"))).held_out


@pytest.mark.parametrize(
    ("first", "second", "state"),
    [
        ("Yes, it is.", "yes, it is.", CorrectionState.CONTRADICTION),  # they differ in what a fix may be about
        ("Yes, it is.", "Yes, it is.\n", CorrectionState.DUPLICATE),
        ('{"tool":"f","arguments":{"n":"PATH"}}', '{"tool":"f","arguments":{"n":"path"}}', CorrectionState.CONTRADICTION),
        ('{"tool":"f","arguments":{"n":5}}', '{"tool":"f","arguments":{"n":5.0}}', CorrectionState.DUPLICATE),
        ('[{"tool":"f","arguments":{}},{"tool":"g","arguments":{}}]', '[{"tool":"g","arguments":{}},{"tool":"f","arguments":{}}]',
         CorrectionState.DUPLICATE),
        ('{"a":"\\ud83d"}', '{"a":"\\ud83d"}', CorrectionState.DUPLICATE),
    ],
)  # fmt: skip
def test_two_fixes_of_one_prompt_are_compared_as_a_fix_with_the_models_answer(first: str, second: str, state: CorrectionState) -> None:
    desk = Desk()
    desk.decide(joined("first", corrected=first))
    assert desk.decide(joined("second", corrected=second)).state is state


def test_a_contradiction_of_an_untrusted_source_is_still_named_one() -> None:
    desk = Desk()
    desk.decide(joined("first", corrected="yes"))
    assert desk.decide(joined("second", corrected="no", source="stranger")).state is CorrectionState.CONTRADICTION


def test_all_fixes_of_an_entity_fall_on_one_side() -> None:
    desk = Desk(AcceptancePolicy(trusted_sources=frozenset({"support-desk"}), held_out_share=0.5))
    sides: dict[str, set[bool]] = {}
    for number in range(60):
        entity = f"function=f{number % 12}"
        outcome = desk.decide(joined(f"c{number}", derive("words", number), entity=entity))
        sides.setdefault(entity, set()).add(outcome.held_out)
    assert all(len(side) == 1 for side in sides.values())
    assert {side.pop() for side in sides.values()} == {True, False}


def test_a_near_duplicate_of_a_held_out_fix_is_held_out_with_it() -> None:
    holding = Desk(AcceptancePolicy(trusted_sources=frozenset({"support-desk"}), held_out_share=1.0))
    first = holding.decide(joined("first", "please send the blue parcel to the house of my aunt in Lyon today"))
    assert first.held_out
    holding.policy = TRUSTING
    second = holding.decide(joined("second", "please send the blue parcel to the house of my aunt in Lyon today!"))
    assert second.held_out
    assert second.entity == first.entity


def test_what_is_in_the_golden_set_is_never_trained_on() -> None:
    prompts = NearPrompts(threshold=0.7)
    prompts.add("g", ask("please send the blue parcel to the house of my aunt in Lyon today"))
    desk = Desk(golden=ExclusionSet(entities=frozenset({"function=protected"}), prompts=prompts))
    assert desk.decide(joined("a", "something else entirely", entity="function=protected")).held_out
    assert desk.decide(joined("b", "please send the blue parcel to the house of my aunt in Lyon today.")).held_out
    assert not desk.decide(joined("c", "book a table for four at the harbour")).held_out


def test_a_fix_that_says_what_the_model_said_is_rejected() -> None:
    assert Desk().decide(joined(corrected=" a wrong answer\n")).state is CorrectionState.REJECTED


def test_a_fix_that_wants_to_replace_another_waits_for_a_person() -> None:
    assert Desk().decide(joined(supersedes=CorrectionId("old"))).state is CorrectionState.REVIEW


@pytest.mark.parametrize(
    ("minutes", "state"), [(0, CorrectionState.SUBMITTED), (9.9, CorrectionState.SUBMITTED), (10, CorrectionState.REVIEW)]
)
def test_a_correction_waits_ten_minutes_for_its_request(minutes: float, state: CorrectionState) -> None:
    missing = join(correction=correction(), request=None, entity_keys=())
    outcome = acceptance.decide_without_request(join=missing, since=NOON, now=NOON + timedelta(minutes=minutes), policy=TRUSTING)
    assert outcome.state is state
    assert ("not recorded within 10 minutes" in outcome.reason) is (state is CorrectionState.REVIEW)


def test_a_correction_of_a_cut_request_is_rejected_at_once() -> None:
    cut = join(correction=correction(), request=inference("r-c1", truncated=True), entity_keys=())
    outcome = acceptance.decide_without_request(join=cut, since=NOON, now=NOON, policy=TRUSTING)
    assert outcome.state is CorrectionState.REJECTED
    assert "parts are not kept" in outcome.reason
