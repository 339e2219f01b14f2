"""The released examples of the drift event: each stays valid for ever, and one window's judgements can be told apart."""

import json
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas import schema


def read(case: str) -> Any:
    return json.loads(files("schemas").joinpath(f"examples/drift.v1.{case}.json").read_text())


@pytest.mark.parametrize("case", ["closed", "judged_again", "reevaluated"])
def test_an_example_fits_its_schemas(case: str) -> None:
    Draft202012Validator(schema("envelope.v1")).validate(read(case))
    Draft202012Validator(schema("drift/drift.v1")).validate(read(case)["data"])


@pytest.mark.parametrize("newer", ["judged_again", "reevaluated"])
def test_newer_verdicts_of_a_window_are_an_event_with_a_higher_number(newer: str) -> None:
    closed, again = read("closed"), read(newer)
    assert closed["data"]["window"] == again["data"]["window"]
    assert closed["id"] != again["id"]
    assert closed["data"].get("judged_again", 0) < again["data"]["judged_again"]


@pytest.mark.parametrize("wrong", [0, -1, "1", 1.5])
def test_a_number_of_judgements_that_cannot_be_is_refused(wrong: object) -> None:
    data = {**read("judged_again")["data"], "judged_again": wrong}
    assert not Draft202012Validator(schema("drift/drift.v1")).is_valid(data)
