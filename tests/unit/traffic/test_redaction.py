"""Findings become keyed pseudonyms."""

import pytest

from flywheel.traffic.redaction import PersonalDataSpan, holds_pseudonym, pseudonym, pseudonymise, redacted_json

KEY = b"key"


def found(text: str, part: str, kind: str = "EMAIL_ADDRESS") -> PersonalDataSpan:
    return PersonalDataSpan(start=text.index(part), end=text.index(part) + len(part), kind=kind)


def test_the_same_person_gets_the_same_name_and_another_key_another_one() -> None:
    assert pseudonym("A.Berg@x.org", kind="EMAIL_ADDRESS", key=KEY) == pseudonym("a.berg@X.org ", kind="EMAIL_ADDRESS", key=KEY)
    assert pseudonym("a@x.org", kind="EMAIL_ADDRESS", key=KEY) != pseudonym("a@x.org", kind="EMAIL_ADDRESS", key=b"other")


def test_every_finding_is_replaced_and_the_rest_stays() -> None:
    text = "From a@x.org to b@y.org."
    out, number = pseudonymise(text, [found(text, "a@x.org"), found(text, "b@y.org")], KEY)
    assert number == 2
    assert out.startswith("From <EMAIL_ADDRESS:")
    assert out.endswith(">.")
    assert "@" not in out
    assert holds_pseudonym(out)


def test_of_overlapping_findings_the_longest_counts() -> None:
    text = "see https://x.org/a@x.org now"
    out, number = pseudonymise(text, [found(text, "a@x.org"), found(text, "https://x.org/a@x.org", "URL")], KEY)
    assert number == 1
    assert out.startswith("see <URL:")
    assert out.endswith("> now")


def test_a_pseudonym_is_not_replaced_again() -> None:
    text = "To <EMAIL_ADDRESS:3f2a9c01>."
    assert pseudonymise(text, [found(text, "3f2a9c01", "ID")], KEY) == (text, 0)


def test_findings_outside_the_text_are_harmless() -> None:
    assert pseudonymise("abc", [PersonalDataSpan(start=-5, end=0, kind="X"), PersonalDataSpan(start=3, end=9, kind="X")], KEY) == ("abc", 0)


@pytest.mark.parametrize("key", ["id", "role", "tool_call_id", "model"])
def test_where_a_machine_writes_ids_a_persons_address_is_redacted_and_an_id_stays(key: str) -> None:
    def redact(text: str) -> tuple[str, int]:
        return ("<EMAIL>", 1) if "@" in text else (text.replace("4155550134", "<PHONE>"), 0)

    assert redacted_json({key: "joe@example.org"}, redact) == {key: "<EMAIL>"}
    assert redacted_json({key: "chatcmpl-4155550134"}, redact) == {key: "chatcmpl-4155550134"}
    assert redacted_json({key: "call 4155550134"}, redact) == {key: "call <PHONE>"}
