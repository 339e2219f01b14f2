"""Findings become keyed pseudonyms."""

import pytest

from flywheel.traffic.exchange import exchange_from_wire
from flywheel.traffic.redaction import (
    CUT_MARK,
    UNSEARCHED,
    PersonalDataSpan,
    found_in_pieces,
    holds_pseudonym,
    is_made_by_machine,
    pseudonym,
    pseudonymise,
    redacted_exchange,
    redacted_fault,
    redacted_json,
)

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


@pytest.mark.parametrize(
    "id",
    [
        *("joe@example.org", "4155550134", "10.1.2.3", "2001:db8::8a2e:370:7334", "::1", "DE89370400440532013000", "a b", "536-90-4399"),
        *("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
    ],
)
def test_an_id_that_may_be_personal_data_is_redacted_like_any_text(id: str) -> None:
    assert not is_made_by_machine(id)
    assert redacted_json({"id": id}, lambda text: ("<X>", 1)) == {"<X>": "<X>"}


@pytest.mark.parametrize("id", ["chatcmpl-4155550134", "call_1", "req_4155550134-a:7/b==", "550e8400-e29b-41d4-a716-446655440000", "user"])
def test_an_id_that_a_machine_made_is_one(id: str) -> None:
    assert is_made_by_machine(id)


def test_a_part_that_could_not_be_searched_is_cut_with_all_that_reaches_into_it() -> None:
    text = "to a@x.org, <EMAIL_ADDRESS:3f2a9c01> and b@y.org or c@z.org"
    unsearched = PersonalDataSpan(start=text.index("x.org"), end=text.index("01>"), kind=UNSEARCHED)
    out, number = pseudonymise(text, [found(text, "a@x.org"), found(text, "b@y.org"), unsearched], KEY)
    assert (out.startswith("to <NOT_SEARCHED> and <EMAIL_ADDRESS:"), out.endswith("> or c@z.org"), number) == (True, True, 2)
    whole = PersonalDataSpan(start=0, end=len(text), kind=UNSEARCHED)
    assert pseudonymise(text, [whole, found(text, "a@x.org"), unsearched], KEY) == (CUT_MARK, 1)


def test_a_piece_that_could_not_be_searched_is_cut_out_of_a_long_number_too() -> None:
    def fails(piece: str) -> list[PersonalDataSpan]:
        return [PersonalDataSpan(start=0, end=len(piece), kind=UNSEARCHED)]

    text = "7" * 5_000
    assert pseudonymise(text, found_in_pieces(text, fails), KEY) == (CUT_MARK, 1)


def test_an_exchange_says_where_a_part_could_not_be_searched() -> None:
    def redact(text: str) -> tuple[str, int]:
        return text.replace("poison", CUT_MARK), text.count("poison")

    tool = {"function": {"name": "find", "parameters": {"enum": ["poison"]}}}
    request = {"messages": [{"role": "user", "content": "good"}, {"role": "user", "content": "a poison"}], "tools": [tool]}
    response = {"choices": [{"message": {"role": "assistant", "content": "poison"}}], "poison": 1}
    exchange = redacted_exchange(exchange_from_wire(request, response, where="$"), redact)
    paths = (
        "request.messages[1].content",
        "request.tools[0].function.parameters.enum[0]",
        "response.choices[0].message.content",
        "response",
    )
    assert (exchange.left_out, exchange.answer_is_whole) == (paths, False)


def test_a_fault_is_searched_where_it_may_repeat_a_producers_words() -> None:
    def redact(text: str) -> tuple[str, int]:
        return text.replace("a@x.org", "<X>"), 1

    assert redacted_fault("$.data.dimensions.a@x.org", redact) == "$.data.dimensions.<X>"
    assert (
        redacted_fault("$.data.request.messages[12].role", lambda text: pytest.fail("needs no search"))
        == "$.data.request.messages[12].role"
    )
