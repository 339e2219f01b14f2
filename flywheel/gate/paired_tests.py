"""What the same items asked of two arms can show: better (exact McNemar) or not worse (Tango's score interval).

In: correct or incorrect per item and arm. Out: paired counts, a p-value, bounds of the difference challenger minus baseline,
and how many items are needed. The verdict is made in ``axis_verdict``.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from statistics import NormalDist

from flywheel.gate.axes import PairedCounts

_SMALLEST_VARIANCE = 1e-12
_MOST_DIFFERING = 4_000
"""Beyond it sums of whole numbers are slow, and the incomplete beta function gives the same chance."""
_TINY = 1e-9


def pair(*, baseline: Sequence[bool], challenger: Sequence[bool]) -> PairedCounts:
    """Item i of both sequences is the same item."""
    both = sum(b and c for b, c in zip(baseline, challenger, strict=True))
    wins = sum(c and not b for b, c in zip(baseline, challenger, strict=True))
    losses = sum(b and not c for b, c in zip(baseline, challenger, strict=True))
    return PairedCounts(both=both, wins=wins, losses=losses, neither=len(baseline) - both - wins - losses)


def p_better(*, wins: int, losses: int) -> float:
    """Exact McNemar, one-sided: the chance of this many wins or more when wins and losses are equally likely.

    Source: McNemar (1947), Psychometrika 12:153; exact form P(X >= wins), X ~ Binomial(wins + losses, 1/2).
    """
    n = wins + losses
    if n > _MOST_DIFFERING:
        from scipy.special import betainc

        return float(betainc(wins, losses + 1, 0.5)) if wins else 1.0
    as_good: int = sum(math.comb(n, k) for k in range(wins, n + 1))
    return float(Fraction(as_good, 1 << n))  # exact: 2**n overflows a double beyond n = 1023


def wins_needed(*, alpha: float) -> int:
    """The fewest wins that show "better" when there is no loss."""
    return math.ceil(math.log(alpha) / math.log(0.5) - 1e-9)


def score_z(*, n: int, wins: int, losses: int, difference: float) -> float:
    """Tango's score statistic of the hypothesis "challenger minus baseline is ``difference``"; falls as ``difference`` grows.

    Source: Tango (1998), Statistics in Medicine 17:891-908, equations 6 to 8. With q the probability of a loss estimated
    under the hypothesis: 2n q^2 + B q + C = 0, B = -(wins + losses) + (2n - wins + losses) d, C = -losses d (1 - d);
    z = (wins - losses - n d) / sqrt(n (2 q + d (1 - d))).
    """
    return score(n, wins, losses, difference) if n else 0.0


def score(n: int, wins: int, losses: int, d: float) -> float:
    """``score_z`` of one item or more, with arguments by place: a search calls it many thousand times."""
    b = -(wins + losses) + (2 * n - wins + losses) * d
    c = -losses * d * (1 - d)
    q = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    variance = n * (2 * q + d * (1 - d))
    distance = wins - losses - n * d
    if variance <= _SMALLEST_VARIANCE:  # d at the edge of what is possible: no variance is left
        return 0.0 if abs(distance) < 1e-9 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def difference_bounds(*, n: int, wins: int, losses: int, alpha: float) -> tuple[float, float]:
    """Lower and upper bound of challenger minus baseline, each one-sided at ``alpha``, by inverting the score."""
    limit = normal_quantile(alpha)
    if n == 0:
        return -1.0, 1.0
    seen = (wins - losses) / n
    low = _where_z_is(limit, n=n, wins=wins, losses=losses, between=(-1.0, seen))
    high = _where_z_is(-limit, n=n, wins=wins, losses=losses, between=(seen, 1.0))
    return low, high


def needed_without_loss(*, margin: float, alpha: float) -> int:
    """The fewest items on which an arm that answers exactly like the baseline is shown to be within ``margin``."""
    limit = normal_quantile(alpha)
    n = math.floor(limit * limit * (1 - margin) / margin)
    while score_z(n=max(n, 1), wins=0, losses=0, difference=-margin) <= limit:
        n += 1
    return max(n, 1)


def needed_at_this_rate(*, n: int, wins: int, losses: int, margin: float, alpha: float) -> int | None:
    """The fewest items that would show "within ``margin``" if wins and losses keep their shares; None when no number would."""
    if n == 0:
        return needed_without_loss(margin=margin, alpha=alpha)
    seen = (wins - losses) / n
    if seen <= -margin:
        return None
    limit = normal_quantile(alpha)
    # z grows with the square root of n at fixed shares, so one division gives the answer.
    z = score_z(n=n, wins=wins, losses=losses, difference=-margin)
    return math.ceil(n * (limit / z) ** 2 - 1e-9) if z > 0 else None


def normal_quantile(alpha: float) -> float:
    """The quantile that a standard normal variable exceeds with probability ``alpha``."""
    return -NormalDist().inv_cdf(alpha) if alpha < _TINY else NormalDist().inv_cdf(1 - alpha)  # 1 - 1e-17 is 1


def _where_z_is(target: float, *, n: int, wins: int, losses: int, between: tuple[float, float]) -> float:
    """Bisection: z falls from left to right."""
    left, right = between
    for _ in range(60):  # 2^-60 of an interval of length 2 is below a double's resolution
        middle = (left + right) / 2
        if score(n, wins, losses, middle) > target:
            left = middle
        else:
            right = middle
    return (left + right) / 2
