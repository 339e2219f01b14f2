"""Which rows of a training set can be trained on? A row is the tokens of the prompt as it was served, followed by those of the answer.

In: examples, a function that renders one as text, a tokenizer, the longest row. Out: rows of token ids, and for each row that is left out
the reason. A run with more than a tenth left out is refused. Rendering and training are not done here.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from flywheel.ids import derive
from flywheel.training_set.example import CORRECTION, Example

MOST_LEFT_OUT = 0.1  # largest share of rows that may be left out; with more, the model would learn from another selection than was made
PROBE_TOKENS = 700  # most tokens of a probe (a row replayed with base and adapter), prompt and answer: it must fit the served context


class LeftOutReason(StrEnum):
    """Why a row is left out. Rows are never cut: the model would learn to end its answers early."""

    TOO_LONG = "too_long"
    REFUSED_BY_TEMPLATE = "refused_by_template"
    NO_PREFIX = "prompt_not_a_prefix"


WORDS: Mapping[LeftOutReason, str] = {
    LeftOutReason.TOO_LONG: "too long",
    LeftOutReason.REFUSED_BY_TEMPLATE: "refused by the chat template",
    LeftOutReason.NO_PREFIX: "whose prompt is not the beginning of prompt and answer",
}
REMEDIES: Mapping[LeftOutReason, str] = {
    LeftOutReason.TOO_LONG: "raise training.max_length",
    LeftOutReason.REFUSED_BY_TEMPLATE: "set serving.chat_template to a template that takes these messages",
    LeftOutReason.NO_PREFIX: "set serving.chat_template, or serving.chat_template_kwargs, so that no thinking block is opened",
}


@dataclass(frozen=True, kw_only=True)
class RenderedRow:
    """``prompt`` is the text that is served; ``answer`` is what the model should write after it, up to the end of its turn."""

    prompt: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """``detail``: e.g. the template's own words."""

    reason: LeftOutReason
    detail: str = ""


Render = Callable[[Example], RenderedRow | LeftOut]
Encode = Callable[[str], Sequence[int]]
"""A text -> its token ids, without tokens that a tokenizer adds by itself."""


@dataclass(frozen=True, kw_only=True)
class TokenRow:
    """One row that is trained on; the loss counts ``answer_ids`` only."""

    example: str
    source: str  # CORRECTION or GENERAL
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TokenRows:
    """``left_out`` counts rows by reason; ``details`` has the first row's detail of each reason."""

    rows: tuple[TokenRow, ...]
    left_out: Mapping[LeftOutReason, int] = field(default_factory=dict)
    details: Mapping[LeftOutReason, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Rows of the training set."""
        return len(self.rows) + sum(self.left_out.values())

    @property
    def told(self) -> str:
        """Counts by reason, with the first row's detail."""
        return "; ".join(
            f"{count} {WORDS[reason]}" + (f" ({detail})" if (detail := self.details.get(reason)) else "")
            for reason, count in self.left_out.items()
        )


@dataclass(frozen=True, kw_only=True)
class TooManyLeftOut:
    """Why a run does not start."""

    reason: str
    remedy: str


def too_many_left_out(found: TokenRows) -> TooManyLeftOut | None:
    """None when at most MOST_LEFT_OUT of the rows are left out, and one is left."""
    left = found.total - len(found.rows)
    if found.rows and left <= MOST_LEFT_OUT * found.total:
        return None
    allowed = f"at most {MOST_LEFT_OUT:.0%} may be left out" if found.total else "the training set is empty"
    remedy = ", and ".join(REMEDIES[reason] for reason in found.left_out) or "build another training set"
    return TooManyLeftOut(
        reason=f"{left} of {found.total} rows cannot be trained on, {allowed}: {found.told or 'there is none'}",
        remedy=f"{remedy[:1].upper()}{remedy[1:]}.",
    )


def token_rows(examples: Sequence[Example], *, render: Render, encode: Encode, max_length: int) -> TokenRows:
    """The rows in the order of the examples."""
    rows, left_out, details = [], Counter[LeftOutReason](), dict[LeftOutReason, str]()
    for example in examples:
        row = _row(example, render, encode, max_length)
        if isinstance(row, LeftOut):
            left_out[row.reason] += 1
            details.setdefault(row.reason, row.detail)
        else:
            rows.append(row)
    return TokenRows(rows=tuple(rows), left_out=dict(left_out), details=details)


def probe_rows(rows: Sequence[TokenRow], *, items: int) -> tuple[TokenRow, ...]:
    """Up to ``items`` rows for the probe. Corrections come first, because the adapter differs most from the base on them."""
    fitting = [row for row in rows if len(row.prompt_ids) + len(row.answer_ids) <= PROBE_TOKENS]
    return tuple(sorted(fitting, key=lambda row: (row.source != CORRECTION, derive("probe", row.example)))[:items])


def _row(example: Example, render: Render, encode: Encode, max_length: int) -> TokenRow | LeftOut:
    text = render(example)
    if isinstance(text, LeftOut):
        return text
    prompt, whole = tuple(encode(text.prompt)), tuple(encode(text.prompt + text.answer))
    if whole[: len(prompt)] != prompt:
        return LeftOut(reason=LeftOutReason.NO_PREFIX, detail="the tokens of prompt and answer merge")
    if len(whole) > max_length:
        return LeftOut(reason=LeftOutReason.TOO_LONG, detail=f"{len(whole)} tokens, at most {max_length}")
    return TokenRow(example=example.id, source=example.source, prompt_ids=prompt, answer_ids=whole[len(prompt) :])
