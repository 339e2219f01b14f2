"""Whose data an exchange is, by the field that a workload names."""

import pytest

from flywheel.traffic.subject import is_subject_field, subject_of
from tests.traffic_events import inference

ONE = inference(1, session="s-1", client="shop", dimensions={"customer": "c-7", "empty": ""})


@pytest.mark.parametrize(
    ("field", "subject"),
    [
        ("session", ("session", "s-1")),
        ("client", ("client", "shop")),
        ("dim:customer", ("dim:customer", "c-7")),
        ("dim:absent", ("session", "s-1")),
        ("dim:empty", ("session", "s-1")),
    ],
)
def test_the_subject_is_the_named_field_or_the_session(field: str, subject: tuple[str, str]) -> None:
    assert is_subject_field(field)
    assert subject_of(ONE, field) == subject


@pytest.mark.parametrize("field", ["", "user", "dim:", "Session", "dim"])
def test_other_fields_are_no_subjects(field: str) -> None:
    assert not is_subject_field(field)
