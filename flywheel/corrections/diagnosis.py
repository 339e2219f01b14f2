"""Is this a failure of behaviour, which weights can learn, or a gap of knowledge, which belongs into a source?

In: a joined correction. Out: a Diagnosis with its reason. Facts, prices, dates and versions never go into weights: they
would be wrong again next month, and nobody could correct them. Telling the owner of the source is not done here.
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
    """Where the failure lies."""

    BEHAVIOUR = "behaviour"
    KNOWLEDGE = "knowledge"
    NONE = "none"  # the fix says what the model said


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Only behaviour trains."""

    cause: Cause
    reason: str


def diagnose(joined: JoinedCorrection) -> Diagnosis:
    """The submitter's reason code first; without one, the shape of the fix."""
    correction = joined.correction
    if correction.reason_code in FACTUAL:
        return Diagnosis(cause=Cause.KNOWLEDGE, reason=f"reported as {correction.reason_code}: it belongs into a source, not into weights")
    if joined.original is not None and correction.corrected is not None:
        if normalise(joined.original) == normalise(correction.corrected):
            return Diagnosis(cause=Cause.NONE, reason="the fix says what the model said")
        if correction.reason_code == "other" and _restates_a_figure(joined.original, correction.corrected, joined):
            return Diagnosis(cause=Cause.KNOWLEDGE, reason="only a figure changed, and the request does not hold it")
    return Diagnosis(cause=Cause.BEHAVIOUR, reason="how the model answers, which weights can learn")


def _restates_a_figure(original: str, corrected: str, joined: JoinedCorrection) -> bool:
    """Equal but for figures, and the right figure could not be read from the prompt. A structured answer is never meant:
    its figures are arguments."""
    before, after = normalise(original), normalise(corrected)
    if _is_structured(corrected) or FIGURE.sub("#", before) != FIGURE.sub("#", after):
        return False
    prompt = frozenset(_figures(normalise(message.content) for message in joined.messages))
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
