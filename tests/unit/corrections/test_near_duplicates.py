import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.comparison import LENIENT, canonical
from flywheel.corrections.near_duplicates import KEPT_CHARACTERS, NearPrompts, _kept_shingles, judged, overlap, user_text
from flywheel.traffic.message import Message

POLICY = "You are the assistant of a shop. Be brief, be kind, never promise a refund, and answer in the customer's language. " * 5


def said(text: str, *, system: str = "", before: tuple[str, ...] = ()) -> tuple[Message, ...]:
    """A conversation: the system text, turns of user and assistant in turn, the last user turn."""
    turns = [Message(role="user" if at % 2 == 0 else "assistant", content=turn) for at, turn in enumerate(before)]
    return (*([Message(role="system", content=system)] if system else []), *turns, Message(role="user", content=text))


def are_near(one: tuple[Message, ...], other: tuple[Message, ...]) -> bool:
    found = []
    for left, right in ((one, other), (other, one)):
        index = NearPrompts(threshold=0.7)
        index.add("one", left)
        found.append(index.near(right) == ("one",))
    assert len(set(found)) == 1, "which of the two was known first makes no difference"
    return found[0]


def test_a_tool_list_in_the_users_turn_does_not_make_two_requests_alike() -> None:
    tool = "Tool: get_weather(city:str, unit?:str, days?:int, provider?:str, language?:str)"
    one = user_text([Message(role="user", content=f"{tool}\nIs it raining in Oslo?")])
    other = user_text([Message(role="user", content=f"{tool}\nHow hot will Cairo be on Friday?")])
    assert one == "Is it raining in Oslo?"
    assert overlap(one, other) < 0.3


def test_a_turn_that_is_nothing_but_a_tool_line_is_kept() -> None:
    assert user_text([Message(role="user", content="Tool: hammer")]) == "Tool: hammer"


def test_system_text_and_answers_are_not_what_was_asked() -> None:
    messages = [Message(role="system", content="be nice"), Message(role="user", content="hello"), Message(role="assistant", content="hi")]
    assert user_text(messages) == "hello"


def test_the_nearest_stands_first() -> None:
    prompts = NearPrompts(threshold=0.7)
    prompts.add("far", said("an order of twelve red roses for the wedding of my sister in June, with a card and a ribbon"))
    prompts.add("near", said("an order of twelve red roses for the wedding of my sister in June, with a card and a vase"))
    prompts.add("other", said("my invoice is wrong"))
    found = prompts.near(said("an order of twelve red roses for the wedding of my sister in June, with a card and a vase!"))
    assert found[0] == "near"
    assert "other" not in found


def test_an_empty_text_is_near_to_nothing() -> None:
    prompts = NearPrompts(threshold=0.7)
    prompts.add("empty", said("   "))
    prompts.add("text", said("hello"))
    assert prompts.near(said("")) == ()
    assert prompts.near(said("x")) == ()


@pytest.mark.parametrize("last", ["Yes please", "continue", "2", "Yes, please go ahead and do that", "ok", "はい、お願いします", "👍"])
def test_the_same_reply_to_another_question_is_another_prompt(last: str) -> None:
    cancel = said(last, system=POLICY, before=("My plan is too dear", "Shall I cancel it?"))
    renew = said(last, system=POLICY, before=("My plan has run out", "Shall I renew it?"))
    assert not are_near(cancel, renew)
    assert judged(cancel).cluster != judged(renew).cluster


@pytest.mark.parametrize("last", ["Yes please", "continue", "2"])
def test_the_same_reply_to_the_same_question_is_a_near_duplicate(last: str) -> None:
    one = said(last, system=POLICY, before=("My plan is too dear for what it gives me", "Shall I cancel it for you today?"))
    other = said(last + "!", system=POLICY, before=("My plan is too dear for what it gives me.", "Shall I cancel it for you today?"))
    assert are_near(one, other)


def test_a_short_question_about_another_text_is_another_prompt() -> None:
    prices, hours = "Context: the pro plan costs 49 dollars a month.", "Context: our shop in Lyon opens at nine on Mondays."
    assert not are_near(said("And this one?", system=prices), said("And this one?", system=hours))
    assert are_near(said("And this one?", system=POLICY), said("And this one?", system=POLICY + " Today is Monday."))


def test_a_real_question_is_found_again_whatever_stands_around_it() -> None:
    question = "How do I cancel my subscription to the pro plan?"
    alone = said(question)
    assert are_near(alone, said(question + " Thanks", system=POLICY))
    assert are_near(alone, said(question, system=POLICY, before=("Hi", "Hello! I am the assistant of this shop. How can I help?")))
    assert are_near(alone, said("How do I cancel my subscription to the pro plan", system="Context: nothing was found."))


def test_a_short_question_is_found_again_where_one_of_the_two_has_no_system_text() -> None:
    """Cases that people write often leave it out."""
    assert are_near(said("Where is my parcel?"), said("where is my parcel", system=POLICY))


def test_one_system_text_does_not_make_short_questions_alike() -> None:
    assert not are_near(said("How much?", system=POLICY), said("Who leads?", system=POLICY))


def test_a_prompt_without_a_user_turn_is_judged_by_what_it_has() -> None:
    assert are_near((Message(role="tool", content="the parcel is in Lyon"),), (Message(role="tool", content="the parcel is in Lyon!"),))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=0, max_size=60), min_size=1, max_size=8), st.text(max_size=60))
def test_every_text_found_overlaps_enough_and_a_text_finds_itself(texts: list[str], query: str) -> None:
    index = NearPrompts(threshold=0.7)
    for number, text in enumerate(texts):
        index.add(str(number), said(text))
    assert all(overlap(judged(said(texts[int(key)])).turns, judged(said(query)).turns) >= 0.7 for key in index.near(said(query)))
    assert all(str(number) in index.near(said(text)) for number, text in enumerate(texts) if canonical(text, LENIENT))


def test_long_texts_are_compared_but_their_shingles_are_not_kept() -> None:
    long = " ".join(f"word{at}" for at in range(KEPT_CHARACTERS // 5))
    kept = _kept_shingles.cache_info().currsize
    assert are_near(said(long), said(f"{long} and more"))
    assert _kept_shingles.cache_info().currsize == kept
    assert _kept_shingles.cache_info().maxsize == 256
