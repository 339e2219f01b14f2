"""The exact p-value of "not worse": how likely is a result this good from a challenger that is worse by the whole margin?

In: items, wins, losses, the margin. Out: a p-value that is at most alpha in at most alpha of all gates, at any number of items.
The interval and the verdict are made elsewhere.

Tango's score interval is an approximation: at a nominal 1 % its true error, over all ways in which wins and losses can be mixed, lies
between 0 and 1.4 %. So an axis passes only when this p-value agrees.
"""

import math
from functools import cache, lru_cache

import numpy as np

from flywheel.gate.paired_tests import needed_without_loss, normal_quantile, score, score_z

LEAST_MARGIN = 1e-6
"""Below it no number of items that can be counted shows anything."""
NUISANCE_CHANCE = 1e-4
"""Probability that the share of losses lies above the range searched. It is added to every p-value, so alphas must be well above it."""
_STEPS = 96
"""The unknown share of losses is tried at so many points, closer together where it is small."""
_MOST_ITEMS = 50_000
"""Beyond it the search is slow, and a bound is enough."""
_TIE = 1e-9  # outcomes whose scores differ by less are equally good
_BEYOND = 9.0  # standard deviations of losses beyond which probabilities are negligible


@lru_cache(maxsize=65_536)
def p_worse(*, n: int, wins: int, losses: int, margin: float) -> float:
    """The largest chance of a score at least this good when "challenger minus baseline" is exactly ``-margin`` (a share in (0, 1)).

    Outcomes are ordered by Tango's score. Wins and losses follow a trinomial with P(loss) = q and P(win) = q - margin, where q is
    not known: the largest chance over all q from ``margin`` to an upper bound that is wrong with chance ``NUISANCE_CHANCE``, plus
    that chance. Sources: Hsueh, Liu and Chen (2001), Biometrics 57:478-483 (the unconditional test); Berger and Boos (1994),
    JASA 89:1012-1016 (the bound on q). The bound follows from the losses alone, so that one more loss can never lower the result.

    Of very many items it is an upper bound and not the chance itself: Hoeffding (1963), JASA 58:13-30, for means of values from -1 to 1.
    """
    if n == 0:
        return 1.0
    if n > _MOST_ITEMS:
        return math.exp(-n * max((wins - losses) / n + margin, 0.0) ** 2 / 2)
    fewest = _fewest_wins(n, score_z(n=n, wins=wins, losses=losses, difference=-margin), margin, _losses_that_count(n, losses, margin))
    return min(1.0, float(_chance(n, fewest, _shares_tried(n, losses, margin), margin).max()) + NUISANCE_CHANCE)


def shown_not_worse(*, n: int, wins: int, losses: int, margin: float, alpha: float) -> bool:
    """Tango's interval lies above ``-margin`` and the exact p-value agrees: the rule by which an axis passes."""
    if score_z(n=n, wins=wins, losses=losses, difference=-margin) <= normal_quantile(alpha) or n == 0:
        return False
    return p_worse(n=n, wins=wins, losses=losses, margin=margin) <= alpha


@cache
def least_items(*, margin: float, alpha: float) -> int:
    """The fewest items on which an arm that loses and wins nothing passes; on fewer, an axis passes only by winning items.

    ``alpha`` is above ``NUISANCE_CHANCE``."""
    n = needed_without_loss(margin=margin, alpha=alpha)  # the interval's answer; at a wide alpha the exact one is larger
    n = max(n, math.floor(math.log(alpha - NUISANCE_CHANCE) / math.log1p(-margin)) - 1)  # below, no loss at all is too likely
    while not shown_not_worse(n=n, wins=0, losses=0, margin=margin, alpha=alpha):
        n = n + 1 if n < _MOST_ITEMS else max(n + 1, math.floor(2 * math.log(1 / alpha) / margin**2))  # where the bound begins to show
    return n


def _shares_tried(n: int, losses: int, margin: float) -> np.ndarray:
    """From a grid that is the same for every outcome, so that more losses only ever add points to it."""
    from scipy.special import betaincinv

    bound = float(betaincinv(losses + 1, n - losses, 1 - NUISANCE_CHANCE)) if losses < n else 1.0
    grid = _grid(margin)
    return grid[: int(np.searchsorted(grid, bound)) + 1]


@cache
def _grid(margin: float) -> np.ndarray:
    most = (1 + margin) / 2  # then every item differs
    return margin + (most - margin) * (np.arange(_STEPS + 1) / _STEPS) ** 2


def _losses_that_count(n: int, losses: int, margin: float) -> int:
    q = float(_shares_tried(n, losses, margin)[-1])
    return int(min(n, np.ceil(n * q + _BEYOND * np.sqrt(n * q * (1 - q)) + _BEYOND)))


def _fewest_wins(n: int, at_least: float, margin: float, most_losses: int) -> np.ndarray:
    """For 0, 1, ... losses the fewest wins whose score is no lower; n + 1 where there are none. They rise with the losses: one pass."""
    fewest = np.full(most_losses + 1, n + 1)
    wins = 0
    for losses in range(most_losses + 1):
        while wins + losses <= n and score(n, wins, losses, -margin) < at_least - _TIE:
            wins += 1
        if wins + losses > n:
            break
        fewest[losses] = wins
    return fewest


def _chance(n: int, fewest: np.ndarray, shares: np.ndarray, margin: float) -> np.ndarray:
    """[shares]: the chance of an outcome with at least ``fewest`` wins, per share of losses."""
    from scipy.special import bdtrc, gammaln, xlog1py, xlogy

    losses = np.arange(len(fewest), dtype=float)
    rest = n - losses
    reachable = fewest <= rest
    losses, rest, fewest = losses[reachable][:, None], rest[reachable][:, None], fewest[reachable][:, None]
    log_losses = gammaln(n + 1) - gammaln(losses + 1) - gammaln(rest + 1) + xlogy(losses, shares) + xlog1py(rest, -shares)
    winning = np.clip((shares - margin) / (1 - shares), 0.0, 1.0)
    enough = np.where(fewest == 0, 1.0, bdtrc(np.maximum(fewest - 1.0, 0.0), rest.astype(np.int64), winning))
    total: np.ndarray = (np.exp(log_losses) * enough).sum(axis=0)
    return total
