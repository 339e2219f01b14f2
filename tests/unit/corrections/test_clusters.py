from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.corrections.clusters import NearTexts, normalise, overlap, user_text
from flywheel.traffic.message import Message


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
    texts = NearTexts(threshold=0.7)
    texts.add("far", "an order of twelve red roses for the wedding of my sister in June, with a card and a ribbon")
    texts.add("near", "an order of twelve red roses for the wedding of my sister in June, with a card and a vase")
    texts.add("other", "my invoice is wrong")
    found = texts.near("an order of twelve red roses for the wedding of my sister in June, with a card and a vase!")
    assert found[0] == "near"
    assert "other" not in found


def test_an_empty_text_is_near_to_nothing() -> None:
    texts = NearTexts(threshold=0.7)
    texts.add("empty", "   ")
    texts.add("text", "hello")
    assert texts.near("") == ()
    assert texts.near("x") == ()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=0, max_size=60), min_size=1, max_size=8), st.text(max_size=60))
def test_every_text_found_overlaps_enough_and_a_text_finds_itself(texts: list[str], query: str) -> None:
    index = NearTexts(threshold=0.7)
    for number, text in enumerate(texts):
        index.add(str(number), text)
    assert all(overlap(texts[int(key)], query) >= 0.7 for key in index.near(query))
    assert all(str(number) in index.near(text) for number, text in enumerate(texts) if normalise(text))
