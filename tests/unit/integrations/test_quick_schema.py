"""The quick test of a schema accepts nothing that jsonschema refuses, and every released example."""

import json
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas import schema
from services.ports.quick_schema import quick_test

READ_OFTEN = ("envelope.v1", "traffic/traffic.v1")
EXAMPLES = [json.loads(one.read_text()) for one in files("schemas").joinpath("examples").iterdir() if one.name.startswith("traffic.v1.")]
TEXTS = ["", "ok", "champion", "1.0", "x" * 301]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 700) | st.floats(allow_nan=False) | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["role", "messages", "x"]), inner, max_size=2),
    max_leaves=5,
)


@pytest.mark.parametrize("name", READ_OFTEN)
def test_every_released_example_is_accepted_quickly(name: str) -> None:
    quick = quick_test(schema(name))
    assert quick is not None
    assert all(quick(event if name == "envelope.v1" else event["data"]) for event in EXAMPLES)


@given(example=st.sampled_from(EXAMPLES), in_data=st.booleans(), value=VALUES, drawn=st.data())
def test_what_is_accepted_quickly_fits_the_schema(example: Any, in_data: bool, value: Any, drawn: st.DataObject) -> None:
    name = READ_OFTEN[in_data]
    held = dict(example["data"] if in_data else example)
    key = drawn.draw(st.sampled_from([*schema(name)["properties"], "a_new_key"]))
    if drawn.draw(st.booleans()):
        held.pop(key, None)
    else:
        held[key] = value
    quick = quick_test(schema(name))
    assert quick is not None
    if quick(held):
        Draft202012Validator(schema(name)).validate(held)


@pytest.mark.parametrize(
    "unknown",
    [
        {"anyOf": []},
        {"properties": {"a": {"$ref": "#"}}},
        {"items": {"not": {}}},
        {"enum": [1]},
        {"additionalProperties": {"if": {}}},
    ],
)
def test_a_schema_that_says_more_has_no_quick_test(unknown: dict[str, Any]) -> None:
    assert quick_test(unknown) is None


@pytest.mark.parametrize(("kind", "value"), [("integer", True), ("number", False), ("integer", 1.5), ("string", None), ("object", [])])
def test_a_value_of_another_type_is_not_accepted(kind: str, value: object) -> None:
    quick = quick_test({"type": kind})
    assert quick is not None
    assert not quick(value)
