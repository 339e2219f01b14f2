"""Is this a failure of behaviour, which training can correct, or a knowledge gap, which belongs in a source?

In: a joined correction. Out: a FailureDiagnosis with its reason. Facts, prices, dates and versions are never trained on: they change, and
nobody can correct them in weights. Notifying the owner of the source is not done here.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from flywheel.comparison import LENIENT, ComparisonPolicy, canonical, compare, structured
from flywheel.corrections.correction import JoinedCorrection

FACTUAL = frozenset({"wrong_fact", "outdated"})
FIGURE = re.compile(r"[€$£]?\d[\d.,:/%-]*\d|\d")
"""A price, date, time, version or count."""


class Cause(StrEnum):
    """The cause of a failure."""

    BEHAVIOUR = "behaviour"
    KNOWLEDGE = "knowledge"
    NONE = "none"  # the corrected answer is the same as the model's


@dataclass(frozen=True, kw_only=True)
class FailureDiagnosis:
    """Only failures of behaviour are trained on."""

    cause: Cause
    reason: str


def diagnose(joined: JoinedCorrection, comparison: ComparisonPolicy) -> FailureDiagnosis:
    """By the submitter's reason code; without one, by how the corrected answer differs. ``comparison`` is the workload's."""
    correction = joined.correction
    if correction.reason_code in FACTUAL:
        return FailureDiagnosis(
            cause=Cause.KNOWLEDGE, reason=f"reported as {correction.reason_code}: it belongs in a source, not in weights"
        )
    if joined.original is not None and correction.corrected is not None:
        if compare(joined.original, correction.corrected, comparison.of_fixes).same:
            return FailureDiagnosis(cause=Cause.NONE, reason="the corrected answer is the same as the model's")
        if correction.reason_code == "other" and _restates_a_figure(joined.original, correction.corrected, joined):
            return FailureDiagnosis(cause=Cause.KNOWLEDGE, reason="only a number changed, and the request does not contain it")
    return FailureDiagnosis(cause=Cause.BEHAVIOUR, reason="how the model answers, which training can correct")


def _restates_a_figure(original: str, corrected: str, joined: JoinedCorrection) -> bool:
    """True when the answers differ in figures only and the prompt does not contain the correct ones.

    Never for JSON: its numbers are arguments.
    """
    before, after = canonical(original, LENIENT), canonical(corrected, LENIENT)
    if structured(corrected) is not None or FIGURE.split(before) != FIGURE.split(after):
        return False
    prompt = {figure for message in joined.messages for figure in FIGURE.findall(canonical(message.text, LENIENT))}
    changed = {new for old, new in zip(FIGURE.findall(before), FIGURE.findall(after), strict=True) if old != new}
    return not changed <= prompt
