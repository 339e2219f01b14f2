"""Which rows are trained on, which are left out and why, and when too many are."""

from dataclasses import replace

import pytest

from flywheel.training_set.example import CORRECTION, GENERAL, Example
from flywheel.training_set.token_rows import (
    LeftOut,
    LeftOutReason,
    RenderedRow,
    TokenRow,
    TokenRows,
    probe_rows,
    token_rows,
    too_many_left_out,
)
from tests.learning import general


def rendered(example: Example) -> RenderedRow:
    return RenderedRow(prompt=f"{example.messages[0].text}>", answer=f"{example.completion}|")


def encoded(text: str) -> list[int]:
    """A token a character, except that ">" and a line break after it are one token."""
    return [ord(character) for character in text.replace(">\n", "\u2192")]


def asked(text: str, completion: str = "ok") -> Example:
    message = replace(general(1).messages[0], content=text)
    return replace(general(1), id=f"x-{text}", messages=(message,), completion=completion)


def test_a_row_is_its_prompt_and_its_answer_as_tokens() -> None:
    found = token_rows([asked("ab")], render=rendered, encode=encoded, max_length=9)
    assert found.rows == (TokenRow(example="x-ab", source=GENERAL, prompt_ids=(97, 98, 62), answer_ids=(111, 107, 124)),)
    assert (found.left_out, found.total, too_many_left_out(found)) == ({}, 1, None)


def test_a_row_that_is_too_long_is_left_out_and_never_cut() -> None:
    found = token_rows([asked("abc"), asked("abcd")], render=rendered, encode=encoded, max_length=7)
    assert [row.example for row in found.rows] == ["x-abc"]
    assert found.left_out == {LeftOutReason.TOO_LONG: 1}
    assert found.told == "1 too long (8 tokens, at most 7)"


def test_a_row_whose_prompt_is_no_prefix_in_tokens_is_left_out() -> None:
    found = token_rows([asked("ab", completion="\nok")], render=rendered, encode=encoded, max_length=99)
    assert found.left_out == {LeftOutReason.NO_PREFIX: 1}


def test_the_renderer_s_reason_is_counted_with_the_first_detail() -> None:
    reasons = iter(["roles must alternate", "no system text"])

    def refuse(example: Example) -> LeftOut:
        return LeftOut(reason=LeftOutReason.REFUSED_BY_TEMPLATE, detail=next(reasons))

    found = token_rows([asked("a"), asked("b")], render=refuse, encode=encoded, max_length=99)
    assert found.told == "2 refused by the chat template (roles must alternate)"


@pytest.mark.parametrize(("fitting", "left_out", "refused"), [(90, 10, False), (89, 11, True), (9, 1, False), (8, 1, True), (1, 0, False)])
def test_more_than_a_tenth_left_out_refuses_the_run(fitting: int, left_out: int, refused: bool) -> None:
    row = TokenRow(example="x", source=CORRECTION, prompt_ids=(1,), answer_ids=(2,))
    found = TokenRows(rows=(row,) * fitting, left_out={LeftOutReason.TOO_LONG: left_out})
    assert (too_many_left_out(found) is not None) is refused


def test_the_refusal_names_the_counts_and_the_remedies() -> None:
    left_out = {LeftOutReason.TOO_LONG: 199, LeftOutReason.NO_PREFIX: 3}
    details = {LeftOutReason.TOO_LONG: "600 tokens, at most 512"}
    row = TokenRow(example="x", source=CORRECTION, prompt_ids=(1,), answer_ids=(2,))
    refusal = too_many_left_out(TokenRows(rows=(row,), left_out=left_out, details=details))
    assert refusal is not None
    assert refusal.reason == (
        "202 of 203 rows cannot be trained on, at most 10% may be left out: 199 too long (600 tokens, at most 512); "
        "3 whose prompt is not the beginning of prompt and answer"
    )
    assert refusal.remedy.startswith("Raise training.max_length, and set serving.chat_template, or serving.chat_template_kwargs")


def test_without_a_row_nothing_is_trained() -> None:
    refusal = too_many_left_out(TokenRows(rows=()))
    assert refusal is not None
    assert "the training set is empty" in refusal.reason


def test_probes_are_of_corrections_first_and_of_rows_that_fit_the_server() -> None:
    rows = [
        TokenRow(example=f"x{number}", source=CORRECTION if number % 2 else GENERAL, prompt_ids=(1,) * (number * 100), answer_ids=(2,))
        for number in range(1, 9)
    ]
    chosen = probe_rows(rows, items=4)
    assert {row.example for row in chosen} == {"x1", "x3", "x5"} | {chosen[-1].example}
    assert chosen[-1].source == GENERAL
    assert probe_rows(rows[::-1], items=4) == chosen
