"""Is this a failure of behaviour, which training can correct, or a knowledge gap, which belongs in a source?

In: a joined correction. Out: a FailureDiagnosis with its reason. Facts, prices, dates and versions are never trained on: they change, and
nobody can correct them in weights. Notifying the owner of the source is not done here.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from flywheel.corrections.clusters import normalise
from flywheel.corrections.correction import JoinedCorrection

FACTUAL = frozenset({"wrong_fact", "outdated"})
FIGURE = re.compile(r"[€$£]?\d[\d.,:/%-]*\d|\d")
"""A price, date, time, version or count."""


class Cause(StrEnum):
    """The cause of a failure."""

    BEHAVIOUR = "behaviour"
    KNOWLEDGE = "knowledge"
    NONE = "none"  # the corrected answer equals the model's


@dataclass(frozen=True, kw_only=True)
class FailureDiagnosis:
    """Only failures of behaviour are trained on."""

    cause: Cause
    reason: str


def diagnose(joined: JoinedCorrection) -> FailureDiagnosis:
    """By the submitter's reason code; without one, by how the corrected answer differs."""
    correction = joined.correction
    if correction.reason_code in FACTUAL:
        return FailureDiagnosis(
            cause=Cause.KNOWLEDGE, reason=f"reported as {correction.reason_code}: it belongs in a source, not in weights"
        )
    if joined.original is not None and correction.corrected is not None:
        if normalise(joined.original) == normalise(correction.corrected):
            return FailureDiagnosis(cause=Cause.NONE, reason="the corrected answer equals the model's")
        if correction.reason_code == "other" and _restates_a_figure(joined.original, correction.corrected, joined):
            return FailureDiagnosis(cause=Cause.KNOWLEDGE, reason="only a number changed, and the request does not contain it")
    return FailureDiagnosis(cause=Cause.BEHAVIOUR, reason="how the model answers, which training can correct")


def _restates_a_figure(original: str, corrected: str, joined: JoinedCorrection) -> bool:
    """True when the answers differ in numbers only and the prompt does not contain the correct one.

    Never for JSON: its numbers are arguments.
    """
    before, after = normalise(original), normalise(corrected)
    if _is_structured(corrected) or FIGURE.sub("#", before) != FIGURE.sub("#", after):
        return False
    prompt = frozenset(_figures(normalise(message.text) for message in joined.messages))
    changed = [new for old, new in zip(FIGURE.findall(before), FIGURE.findall(after), strict=True) if old != new]
    return any(figure not in prompt for figure in changed)


def _figures(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        yield from FIGURE.findall(text)


def _is_structured(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except ValueError:
        return False
