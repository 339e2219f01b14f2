"""Names of people that an exchange, a correction or the settings give."""

import pytest

from flywheel.traffic.exchange import prompt_from_wire
from flywheel.traffic.names import known_names, name_places, names_of, people


def found(text: str, *names: str) -> list[str]:
    known = known_names(names)
    return [text[start:end] for start, end, _ in name_places(text, known)] if known is not None else []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Anna Schmidt wrote. Ask Anna, or SCHMIDT.", ["Anna Schmidt", "Anna", "SCHMIDT"]),
        ("Anna\nSchmidt, Schmidt Anna, Schmidt's bill", ["Anna\nSchmidt", "Schmidt Anna", "Schmidt"]),
        ("by anna schmidt", ["anna schmidt"]),
        ("by anna", []),
        ("Annabel and Goldschmidt", []),
        ('{"to": "Anna", "n": 1}', ["Anna"]),
    ],
)
def test_a_known_name_is_found_whole_and_in_parts(text: str, expected: list[str]) -> None:
    assert found(text, "Anna Schmidt") == expected


def test_particles_of_a_name_are_no_name() -> None:
    text = "la casa de la playa, Maria de la Cruz, Cruz de la villa"
    assert found(text, "Maria de la Cruz") == ["Maria de la Cruz", "Cruz"]
    assert found("von der Stadt", "Herr von der Leyen") == []


def test_a_name_in_a_script_without_capitals_is_found_in_a_run_of_letters() -> None:
    assert found("请联系王小明先生", "王小明") == ["王小明"]
    assert found("שלום דנה", "דנה") == ["דנה"]


@pytest.mark.parametrize(
    "given", ["customer", "User", "Support Agent", "user-123", "a@x.org", "x", "", None, 7, "A" * 200, "<PERSON:01234567>"]
)
def test_a_role_an_id_and_an_address_are_no_name(given: object) -> None:
    assert people([given]) == ()


def test_the_fields_of_a_request_give_names() -> None:
    messages = [
        {"role": "user", "name": "Anna Schmidt", "content": "hi"},
        {"role": "assistant", "name": "helper", "content": "hi"},
        {"role": "tool", "name": "GetWeather", "tool_call_id": "1", "content": "hi"},
    ]
    metadata = {"customer_name": "Jorge Díaz", "filename": "Report", "city": "Berlin", "first_name": 7}
    prompt = prompt_from_wire({"messages": messages, "user": "Bob Ray", "metadata": metadata}, where="$")
    assert names_of(prompt) == ("Bob Ray", "Anna Schmidt", "Jorge Díaz")


def test_no_names_need_no_search() -> None:
    assert known_names(()) is None
    assert known_names(["al"]) is None
