"""The prompted baseline."""

from flywheel.gate.few_shot import choose, prompt
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
    case = (Message(role="system", content="S"), Message(role="user", content="now"))
    assert [(one.role, one.content) for one in prompt(messages=case, shots=[example(1)])] == [
        ("system", "S"),
        ("user", "question 1"),
        ("assistant", "answer 1"),
        ("user", "now"),
    ]


def test_without_shots_the_prompt_is_the_case_itself() -> None:
    case = (Message(role="user", content="now"),)
    assert prompt(messages=case, shots=()) == case
