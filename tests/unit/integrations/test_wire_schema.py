"""What is accepted equals what jsonschema accepts, whatever the document; what fits is accepted without asking it."""

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flywheel.errors import InvalidInput
from schemas import schema
from services.ports import wire_schema
from services.ports.wire_schema import check_schema

NAMES = {
    "traffic": "traffic/traffic.v1",
    "correction": "corrections/correction.v1",
    "drift": "drift/drift.v1",
    "knowledge-gap": "knowledge_gaps/knowledge_gap.v1",
}
EXAMPLES = {one.name: json.loads(one.read_text()) for one in files("schemas").joinpath("examples").iterdir()}
SAMPLES = [("envelope.v1", event) for event in EXAMPLES.values()]
SAMPLES += [(NAMES[name.split(".")[0]], event["data"]) for name, event in EXAMPLES.items()]

NESTED: Any = "inside"
for _ in range(150):
    NESTED = [{"a": NESTED}]
NUMBERS = (2**63, 2**64, -(2**63) - 1, 10**400, 1.0, -0.0, 0, -1, 599.0, 600, 1e400, float("nan"), float("-inf"), 0.1, 5e-324, True)
TEXTS = (
    "",
    "\ud83d",
    "x\ud83d" * 100,
    "😀" * 200,
    "😀" * 201,
    "e\u0301" * 100,
    "\0",
    "flywheel.x.v1\n",
    "flywheel.x.v١",
    "2026-13-45",
    "champion",
)
ODD = (
    *NUMBERS,
    *TEXTS,
    None,
    [],
    {},
    {"\ud83d": 1},
    {"": {}},
    {"role": "\ud800"},
    [{"role": 1}],
    [{"role": "x", "content": 10**30}],
    NESTED,
)


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(inner, (*at, name))


def changed(value: Any, at: tuple[Any, ...], odd: Any) -> Any:
    if not at:
        return odd
    copied = value.copy()
    copied[at[0]] = changed(value[at[0]], at[1:], odd)
    return copied


def is_accepted(value: Any, name: str) -> bool:
    try:
        check_schema(value, name, at="data", remedy="Correct it.")
    except InvalidInput:
        return False
    return True


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: ascii(odd)[:30])
def test_an_odd_value_anywhere_gets_jsonschemas_verdict(odd: Any) -> None:
    for name, sample in SAMPLES:
        for at in paths(sample):
            document = changed(sample, at, odd)
            assert is_accepted(document, name) == Draft202012Validator(schema(name)).is_valid(document), (name, at)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5) | st.sampled_from(ODD),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["role", "content", "messages", "tool", "arguments"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(sample=st.sampled_from(SAMPLES), value=VALUES, drawn=st.data())
@settings(deadline=None)
def test_a_drawn_document_gets_jsonschemas_verdict(sample: tuple[str, Any], value: Any, drawn: st.DataObject) -> None:
    name, document = sample
    at = drawn.draw(st.sampled_from(list(paths(document))))
    document = changed(document, at, value)
    assert is_accepted(document, name) == Draft202012Validator(schema(name)).is_valid(document)


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_released_example_is_accepted_without_asking_jsonschema(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_schema, "_validator", None)  # calling it raises: what is asserted is the fast path
    event = EXAMPLES[example]
    for name, document in (("envelope.v1", event), (NAMES[example.split(".")[0]], event["data"])):
        assert is_accepted(document, name)


def test_a_value_nested_beyond_any_stack_is_no_crash() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    event = EXAMPLES["traffic.v1.exchange.json"]["data"]
    assert is_accepted(changed(event, ("request", "messages", 0, "content"), nested), "traffic/traffic.v1")
    assert not is_accepted(changed(event, ("request", "messages"), {"a": nested}), "traffic/traffic.v1")
