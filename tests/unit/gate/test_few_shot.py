"""The prompted baseline."""

from dataclasses import replace

from flywheel.gate.few_shot import choose, with_shots
from flywheel.traffic.exchange import Prompt
from flywheel.traffic.message import Message
from flywheel.training_set.example import Example


def example(n: int, *, source: str = "correction", entity: str = "") -> Example:
    messages = (Message(role="system", content="S"), Message(role="user", content=f"question {n}"))
    return Example(id=f"x{n}", messages=messages, completion=f"answer {n}", entity=entity or f"e{n}", source=source)


def test_the_choice_depends_on_ids_alone_and_takes_one_an_entity() -> None:
    examples = [example(n, entity=f"e{n % 2}") for n in range(10)]
    chosen = choose(examples=examples, count=3)
    assert chosen == choose(examples=examples[::-1], count=3)
    assert len({one.entity for one in chosen}) == len(chosen) == 2


def test_general_rows_are_no_shots() -> None:
    assert choose(examples=[example(1, source="general")], count=3) == ()


def test_shots_stand_between_the_system_text_and_the_question() -> None:
    case = Prompt(messages=(Message(role="system", content="S"), Message(role="user", content="now")))
    assert [(one.role, one.content) for one in with_shots(case, shots=[example(1)]).messages] == [
        ("system", "S"),
        ("user", "question 1"),
        ("assistant", "answer 1"),
        ("user", "now"),
    ]


def test_a_shot_that_is_a_call_is_shown_as_a_call_and_the_tools_are_those_of_the_case() -> None:
    tools = ({"type": "function", "function": {"name": "add"}},)
    shot = replace(example(1), completion='{"tool": "add", "arguments": {"a": 1}}', tools=tools)
    case = Prompt(messages=(Message(role="user", content="now"),), tools=({"type": "function", "function": {"name": "ping"}},))
    shown = with_shots(case, shots=[shot])
    assert [(call.name, call.value) for call in shown.messages[1].tool_calls] == [("add", {"a": 1})]
    assert shown.tools == case.tools


def test_without_shots_the_prompt_is_the_case_itself() -> None:
    case = Prompt(messages=(Message(role="user", content="now"),), settings={"tool_choice": "auto"})
    assert with_shots(case, shots=()) == case
