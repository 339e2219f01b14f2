"""The weight parity check: does the server answer with the trained weights? It may list the adapter and still serve the base.

In: log-probabilities of known answers, as served under the adapter's name, as served by the base, and as replayed in bf16
at the end of training. Out: a verdict. Asking the server is not done here.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

from flywheel.errors import InvalidInput

SAME_AS_BASE = 0.05
"""Mean absolute difference per token below which the base answers: wrong key names give 0 exactly, shifted layers 0.035; trained 0.8."""
FAITHFUL = 0.03
"""Mean absolute difference per token to the replay below which these weights serve: measured 0.002 to 0.011, half-scaled 0.07."""
FAITHFUL_SHARE = 0.05
"""An adapter that moves the base far carries more rounding: this share of its distance to the base is allowed (measured 0.016,
half-scaled 0.09)."""
ANOTHER = 0.3
"""Above this to the replay it is another adapter rather than other arithmetic."""

_LARGEST = sys.float_info.max
_REMEDY = "Check the weights: they may contain NaN."

LogProbabilities = Sequence[Sequence[float]]


class WeightParity(StrEnum):
    """Which weights the server uses under the adapter's name."""

    APPLIED = "applied"  # the trained ones
    NOT_APPLIED = "not_applied"  # the base's
    DIFFERS = "differs"  # others


@dataclass(frozen=True, kw_only=True)
class WeightParityVerdict:
    """Means are absolute differences of natural log-probabilities per answer token."""

    verdict: WeightParity
    mean_to_base: float
    mean_to_replay: float
    tokens: int
    reason: str


def check_weight_parity(*, served: LogProbabilities, base: LogProbabilities, replay: LogProbabilities) -> WeightParityVerdict:
    """Compares means, not maxima, and never two bases under different quantisation.

    Raises InvalidInput for probes of different lengths, and for log-probabilities that are not finite: the weights may hold NaN.
    """
    to_base, tokens = _mean_difference(served, base, "base")
    to_replay, _ = _mean_difference(served, replay, "replay")
    if to_base < SAME_AS_BASE:
        verdict, reason = WeightParity.NOT_APPLIED, "the server answers as the base does: the adapter's weights are ignored or empty"
    elif to_replay < max(FAITHFUL, FAITHFUL_SHARE * to_base):
        verdict, reason = WeightParity.APPLIED, "the server answers as the trained weights do"
    elif to_replay <= ANOTHER:
        verdict, reason = WeightParity.DIFFERS, "near to the trained weights, but not them: scaled, stale, or other arithmetic"
    else:
        verdict, reason = WeightParity.DIFFERS, "the server answers with other weights than the trained ones"
    allowed = max(FAITHFUL, FAITHFUL_SHARE * to_base)
    measured = (
        f"{reason} (mean difference to base {to_base:.4f}, at least {SAME_AS_BASE:g} is needed; to the replay {to_replay:.4f},"
        f" less than {allowed:.3g} is needed; {tokens} tokens)"
    )
    return WeightParityVerdict(verdict=verdict, mean_to_base=to_base, mean_to_replay=to_replay, tokens=tokens, reason=measured)


def _mean_difference(served: LogProbabilities, other: LogProbabilities, name: str) -> tuple[float, int]:
    if len(served) != len(other) or any(len(s) != len(o) for s, o in zip(served, other, strict=False)):
        raise InvalidInput("the probes have different lengths", where=f"probe.{name}", remedy="Ask all three with the same items.")
    for log_probability in chain.from_iterable((*served, *other)):
        if not math.isfinite(log_probability):
            raise InvalidInput("a log-probability is not a number", where=f"probe.{name}", value=log_probability, remedy=_REMEDY)
    differences = [
        abs(float(s) - float(o)) for item, against in zip(served, other, strict=True) for s, o in zip(item, against, strict=True)
    ]
    if not differences:
        raise InvalidInput("there is no probe", where=f"probe.{name}", remedy="Keep at least one probe item in probe.json.")
    return min(sum(differences) / len(differences), _LARGEST), len(differences)
