"""What the gateway adds to a request, and what it lowers."""

from typing import Any

import pytest

from flywheel.traffic.request_policy import CHAT, RequestPolicy, as_served

USER = {"role": "user", "content": "hi"}
PROMPT = {"role": "system", "content": "Be brief."}
POLICY = RequestPolicy(system_prompt="Be brief.")


def test_without_a_policy_a_request_is_served_as_it_came() -> None:
    body = {"messages": [USER], "max_tokens": 10**9, "temperature": 2, "unknown": [1]}
    assert as_served(body, route=CHAT, policy=RequestPolicy()) == (body, ())


def test_the_system_prompt_comes_first_and_is_marked_as_added() -> None:
    body = {"messages": [USER, {"role": "assistant", "content": "hello"}, USER]}
    served, added = as_served(body, route=CHAT, policy=POLICY)
    assert (served["messages"], added) == ([PROMPT, *body["messages"]], ("messages[0]",))
    assert body["messages"][0] == USER


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_clients_own_instructions_win(role: str, place: int) -> None:
    messages = [USER]
    messages.insert(place, {"role": role, "content": ""})
    assert as_served({"messages": messages}, route=CHAT, policy=POLICY) == ({"messages": messages}, ())


@pytest.mark.parametrize("messages", [None, [], "hi", {"role": "user"}])
def test_messages_that_will_be_refused_get_no_system_prompt(messages: Any) -> None:
    assert as_served({"messages": messages}, route=CHAT, policy=POLICY) == ({"messages": messages}, ())


def test_defaults_are_for_clients_that_send_none() -> None:
    policy = RequestPolicy(defaults={"temperature": 0.2, "max_tokens": 50, "stop": ["END"]})
    served, added = as_served({"messages": [USER], "temperature": 0, "stop": None}, route=CHAT, policy=policy)
    assert (served["temperature"], served["max_tokens"], served["stop"], added) == (0, 50, ["END"], ("max_tokens", "stop"))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_token_limit_counts_under_each_of_its_names(name: str) -> None:
    policy = RequestPolicy(defaults={"max_tokens": 50}, caps={"max_tokens": 100})
    assert as_served({name: 70}, route=CHAT, policy=policy) == ({name: 70}, ())
    assert as_served({name: 700}, route=CHAT, policy=policy) == ({name: 100}, (name,))


def test_a_higher_value_is_lowered_to_the_cap_and_marked() -> None:
    policy = RequestPolicy(caps={"temperature": 0.7, "max_tokens": 100, "n": 2})
    served, added = as_served({"temperature": 1.5, "max_tokens": 7, "max_completion_tokens": 999, "n": 8}, route=CHAT, policy=policy)
    assert served == {"temperature": 0.7, "max_tokens": 7, "max_completion_tokens": 100, "n": 2}
    assert set(added) == {"temperature", "max_completion_tokens", "n"}


@pytest.mark.parametrize(
    ("route", "name"), [(CHAT, "max_tokens"), ("completions", "max_tokens"), ("responses", "max_output_tokens"), ("messages", "max_tokens")]
)
def test_an_answer_without_a_limit_gets_the_cap(route: str, name: str) -> None:
    policy = RequestPolicy(caps={"max_tokens": 100, "temperature": 0.7, "n": 2})
    assert as_served({"max_tokens": None} if route == CHAT else {}, route=route, policy=policy) == ({name: 100}, (name,))


@pytest.mark.parametrize(
    ("value", "capped"),
    [("700", 100), ("1e9", 100), ("70", "70"), (700.0, 100), (True, True), ("many", "many"), ([700], [700]), (-1, -1), ("nan", "nan")],
)
def test_a_limit_of_another_type_is_capped_or_left_to_the_server(value: Any, capped: Any) -> None:
    policy = RequestPolicy(caps={"max_tokens": 100})
    assert as_served({"max_tokens": value}, route=CHAT, policy=policy)[0] == {"max_tokens": capped}


def test_other_routes_get_caps_and_no_defaults() -> None:
    policy = RequestPolicy(system_prompt="Be brief.", defaults={"temperature": 0.2}, caps={"max_tokens": 100})
    assert as_served({"input": "hi"}, route="embeddings", policy=policy) == ({"input": "hi"}, ())
    assert as_served({"prompt": "hi", "max_tokens": 200}, route="completions", policy=policy)[0] == {"prompt": "hi", "max_tokens": 100}
