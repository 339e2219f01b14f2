"""The weight parity check: does the server answer with the trained weights? It may list the adapter and still serve the base.

In: log-probabilities of known answers, as served under the adapter's name, as served by the base, and as replayed in bf16
at the end of training. Out: a verdict. Does not query the server.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

from flywheel.errors import InvalidInput

SAME_AS_BASE = 0.05
"""Served weights count as the base below this mean absolute difference of log-probabilities per token. Measured: 0 with wrong key names,
0.035 with shifted layers, 0.8 with trained weights."""
PARITY = 0.03
"""The trained weights count as served below this mean difference to the replay. Measured: 0.002 to 0.011; 0.07 at half scale."""
PARITY_SHARE = 0.05
"""Alternative threshold, as a share of the difference to the base: a larger difference has larger rounding errors. Measured: 0.016 with the
trained weights, 0.09 at half scale."""
OTHER_WEIGHTS = 0.3
"""Above this mean difference to the replay, the server uses other weights. Below it, rounding or quantisation may be the cause."""

_LARGEST = sys.float_info.max
_REMEDY = "Check the weights: they may contain NaN."

LogProbabilities = Sequence[Sequence[float]]


class WeightParity(StrEnum):
    """Which weights the server uses under the adapter's name."""

    TRAINED = "applied"
    BASE = "not_applied"
    OTHER = "differs"


@dataclass(frozen=True, kw_only=True)
class WeightParityVerdict:
    """Means are absolute differences of natural log-probabilities per answer token."""

    verdict: WeightParity
    mean_to_base: float
    mean_to_replay: float
    tokens: int
    reason: str


def check_weight_parity(*, served: LogProbabilities, base: LogProbabilities, replay: LogProbabilities) -> WeightParityVerdict:
    """Compares mean differences, not maxima. Does not compare the served base with a replayed base: their quantisation may differ.

    Raises InvalidInput for probes of different lengths, and for log-probabilities that are not finite: the weights may hold NaN.
    """
    to_base, tokens = _mean_difference(served, base, "base")
    to_replay, _ = _mean_difference(served, replay, "replay")
    allowed = max(PARITY, PARITY_SHARE * to_base)
    if to_base < SAME_AS_BASE:
        verdict, reason = WeightParity.BASE, "the server answers as the base does: the adapter's weights are ignored or empty"
    elif to_replay < allowed:
        verdict, reason = WeightParity.TRAINED, "the server answers as the trained weights do"
    elif to_replay <= OTHER_WEIGHTS:
        reason = "the served weights are close to the trained weights but differ: they may be scaled or stale, or rounded differently"
        verdict = WeightParity.OTHER
    else:
        verdict, reason = WeightParity.OTHER, "the server uses weights other than the trained ones"
    measured = (
        f"{reason} (mean difference to the base {to_base:.4f}, required at least {SAME_AS_BASE:g}; to the replay {to_replay:.4f},"
        f" required below {allowed:.3g}; {tokens} tokens)"
    )
    return WeightParityVerdict(verdict=verdict, mean_to_base=to_base, mean_to_replay=to_replay, tokens=tokens, reason=measured)


def _mean_difference(served: LogProbabilities, other: LogProbabilities, name: str) -> tuple[float, int]:
    if len(served) != len(other) or any(len(s) != len(o) for s, o in zip(served, other, strict=False)):
        raise InvalidInput(
            "the probes have different lengths", where=f"probe.{name}", remedy="Use the same probe items for served, base and replay."
        )
    for log_probability in chain.from_iterable((*served, *other)):
        if not math.isfinite(log_probability):
            raise InvalidInput("a log-probability is NaN or infinite", where=f"probe.{name}", value=log_probability, remedy=_REMEDY)
    differences = [
        abs(float(s) - float(o)) for item, against in zip(served, other, strict=True) for s, o in zip(item, against, strict=True)
    ]
    if not differences:
        raise InvalidInput("there is no probe", where=f"probe.{name}", remedy="Keep at least one probe item in probe.json.")
    return min(sum(differences) / len(differences), _LARGEST), len(differences)
