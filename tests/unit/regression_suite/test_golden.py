from dataclasses import replace

import pytest

from flywheel.errors import InvalidInput, Refused
from flywheel.ids import Person
from flywheel.regression_suite.case import Case, Tier
from flywheel.regression_suite.golden import case_of_row, freeze
from tests.learning import NOON, ROUTER, case

ROW: dict[str, object] = {
    "tier": "golden",
    "messages": [{"role": "user", "content": "hello"}],
    "grader": {"kind": "equals", "expected": {"text": "hi"}},
    "entity": "greeting",
    "verified_by": "ada",
}


def imported(row: object) -> Case:
    return case_of_row(row, workload=ROUTER, where="line 7", now=NOON, by=Person("ada"))


def test_the_same_cases_in_any_order_freeze_to_the_same_set() -> None:
    cases = [case(str(number), f"prompt {number}") for number in range(5)]
    one = freeze(cases=cases, workload=ROUTER, version=1, by=Person("ada"), now=NOON)
    other = freeze(cases=cases[::-1], workload=ROUTER, version=1, by=Person("bob"), now=NOON)
    assert one.id == other.id
    assert one.cases == other.cases


def test_another_prompt_or_grader_is_another_set() -> None:
    one = freeze(cases=[case("a", "prompt")], workload=ROUTER, version=1, by=Person("ada"), now=NOON)
    other = freeze(cases=[case("a", "another prompt")], workload=ROUTER, version=1, by=Person("ada"), now=NOON)
    assert one.id != other.id


def test_only_golden_cases_are_frozen() -> None:
    cases = [case("a", "x"), case("b", "y", tier=Tier.SAFETY)]
    assert len(freeze(cases=cases, workload=ROUTER, version=1, by=Person("ada"), now=NOON).cases) == 1


def test_nothing_to_freeze_is_refused() -> None:
    with pytest.raises(Refused, match="no golden cases"):
        freeze(cases=[], workload=ROUTER, version=1, by=Person("ada"), now=NOON)


def test_the_same_row_again_is_the_same_case() -> None:
    assert imported(ROW).id == imported(dict(ROW)).id
    assert imported(ROW).verified_by == "ada"


def test_a_row_without_entity_gets_that_of_its_prompt() -> None:
    assert imported({**ROW, "entity": ""}).entity.startswith("cluster-")


def test_a_row_may_hold_tools_calls_and_results_as_a_chat_request_does() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
    ]
    tools = [{"type": "function", "function": {"name": "add"}}]
    row = {**ROW, "messages": messages, "tools": tools, "tool_choice": "auto"}
    made = imported(row)
    assert made.prompt.to_wire() == {"messages": messages, "tools": tools, "tool_choice": "auto"}
    assert made.id != imported({**row, "tools": [*tools, *tools]}).id
    frozen = [freeze(cases=[one], workload=ROUTER, version=1, by=Person("ada"), now=NOON).id for one in (made, replace(made, tools=()))]
    assert frozen[0] != frozen[1]


def test_the_ids_of_plain_rows_are_those_of_earlier_versions() -> None:
    assert imported(ROW).id == "case-beffce54ae64265b"
    assert freeze(cases=[imported(ROW)], workload=ROUTER, version=1, by=Person("ada"), now=NOON).id == "golden-ba80d156ac1b1c8a"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"tools": "add"}, "line 7: tools"),
        ({"tools": [{"name": "add"}]}, "line 7: tools"),
        ({"tier": "recurrence"}, "line 7: tier"),
        ({"messages": []}, "line 7: messages"),
        ({"messages": [{"role": "user"}]}, r"line 7: messages\[0\]"),
        ({"messages": [{"role": "system", "content": "x"}]}, "line 7: messages"),
        ({"grader": "equals"}, "line 7: grader"),
        ({"grader": {"kind": "nope"}}, "line 7: grader.kind"),
        ({"entity": 3}, "line 7: entity"),
        ({"colour": "red"}, "line 7: colour"),
    ],
)
def test_a_row_that_does_not_fit_is_named_by_line_and_key(change: dict[str, object], where: str) -> None:
    with pytest.raises(InvalidInput, match=where):
        imported({**ROW, **change})


def test_a_row_that_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidInput, match="must be a JSON object"):
        imported([1])
