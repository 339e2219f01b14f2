"""Several items of one entity are correlated. What is their effective sample size?

In: per item the difference (challenger minus baseline: -1, 0, 1) and its entity. Out: the intraclass correlation (ICC) of an entity's
items, the effective counts, and an exact p-value of "better". The verdict is not made here.

One item an entity would be valid too, but throws away most answers (200 entities of five answers each, three protected slices: 7 % of
the challengers that are ten points better pass, instead of 47 %). So the counts are divided by the design effect, with the upper bound of
the ICC and not its estimate: the estimate rests on few differing items, and an ICC that is too low would go unnoticed. "Better" needs no
such estimate: flipping the signs of whole entities is exact whatever happens within them.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

_UPPER_Z = 1.6449
"""One-sided 95 %: how many standard errors above its estimate the ICC is taken."""
_ROUND_UP = 1e-9  # so that 5 / 1.0 stays 5
_MOST_ITEMS = 20_000
"""Beyond it the exact sum is slow, and a bound is enough."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The intraclass correlation of one entity's items: 0 independent, 1 all the same. ``high`` is the value that is used."""

    items: int
    entities: int
    icc: float
    high: float
    measured: bool = True  # False: the items cannot show it, and the worst is assumed


@dataclass(frozen=True, kw_only=True)
class EffectiveCounts:
    """What independent items would have shown: rounded down, losses up."""

    n: int
    wins: int
    losses: int
    design_effect: float


def measure(*, differences: Sequence[int], entities: Sequence[str]) -> Agreement:
    """The intraclass correlation by analysis of variance, with its upper 95 % bound by leaving out one entity after another.

    1 (all the same) where it cannot be measured: no entity repeats, nothing differs, or a single entity carries it all.
    Sources: Fisher (1925), Statistical Methods for Research Workers, section 40; unequal sizes as in Donner and Koval (1980),
    Biometrics 36:19-25; the jackknife: Tukey (1958), Annals of Mathematical Statistics 29:614.
    """
    number = {entity: at for at, entity in enumerate(sorted(set(entities)))}  # not numpy's text, which drops a NUL at the end
    index = np.array([number[entity] for entity in entities], dtype=np.int64)
    outcome = np.asarray(differences, dtype=float)
    sizes = np.bincount(index).astype(float)
    count = len(sizes)
    if len(outcome) == count or count < 3:
        return Agreement(items=len(outcome), entities=count, icc=1.0, high=1.0, measured=False)
    sums, squares = np.bincount(index, weights=outcome), np.bincount(index, weights=outcome * outcome)
    whole = np.array([[sizes.sum(), (sizes**2).sum(), sums.sum(), (sums**2 / sizes).sum(), squares.sum(), count]])
    each = np.stack([sizes, sizes**2, sums, sums**2 / sizes, squares, np.ones(count)], axis=1)
    estimate, without = float(_icc(whole)[0]), _icc(whole - each)
    if not np.isfinite(estimate) or not np.isfinite(without).all():
        return Agreement(items=len(outcome), entities=count, icc=1.0, high=1.0, measured=False)
    error = math.sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))
    return Agreement(
        items=len(outcome), entities=count, icc=min(max(estimate, 0.0), 1.0), high=min(max(estimate + _UPPER_Z * error, 0.0), 1.0)
    )


def design_effect(*, entities: Sequence[str], icc: float) -> float:
    """By how much the variance grows: 1 + (m - 1) * icc, m being ``entity_size``.

    Source: Kish (1965), Survey Sampling, section 5.4.
    """
    return 1.0 + (entity_size(entities) - 1.0) * icc


def entity_size(entities: Sequence[str]) -> float:
    """How many items the entity of an average item has: the sum of squared sizes over items. 1 where there are none."""
    sizes = Counter(entities).values()
    items = sum(sizes)
    return sum(size * size for size in sizes) / items if items else 1.0


def effective(*, n: int, wins: int, losses: int, design_effect: float) -> EffectiveCounts:
    """Counts divided by the design effect (Rao and Scott (1992), Biometrics 48:577-585), rounded against the challenger."""
    fewer = max(design_effect, 1.0)
    at_most = math.floor(n / fewer + _ROUND_UP)
    lost = min(math.ceil(losses / fewer - _ROUND_UP), at_most)
    won = min(math.floor(wins / fewer + _ROUND_UP), at_most - lost)
    return EffectiveCounts(n=at_most, wins=won, losses=lost, design_effect=fewer)


def p_better_by_entity(*, differences: Sequence[int], entities: Sequence[str]) -> float:
    """Exact: the chance of a sum this large when each entity's own sum could as well have had the other sign.

    Entities of one item give exactly McNemar's test. A worse outcome never lowers the result: it equals the share of all sets of
    entities whose sums add to zero or less. Source: Fisher (1935), The Design of Experiments, section 21 (the sign-flip test).

    Of very many items it is an upper bound and not the chance itself, from the entities' sizes alone and so no lower after a worse
    outcome: Hoeffding (1963), JASA 58:13-30.
    """
    if len(differences) > _MOST_ITEMS:
        ahead, sizes = max(sum(differences), 0), Counter(entities).values()
        return math.exp(-ahead * ahead / (2 * sum(size * size for size in sizes)))
    sums: Counter[str] = Counter()
    for difference, entity in zip(differences, entities, strict=True):
        sums[entity] += difference
    return p_of_sums(tuple(value for value in sums.values() if value))


def p_of_sums(sums: Sequence[int]) -> float:
    """``sums``: each entity's sum of differences, without zeros. Whole numbers throughout, so nothing is rounded before the end."""
    ways = [1]  # ways[s]: in how many ways a set of entities has a sum of absolute values s
    for size in sorted(abs(value) for value in sums):
        grown = ways + [0] * size
        for at, number in enumerate(ways):
            grown[at + size] += number
        ways = grown
    # Flipped signs reach a total of 2 * s - everything, so "as large" is s at or above what the positive ones add up to.
    positive = sum(value for value in sums if value > 0)
    return float(Fraction(sum(ways[positive:]), 1 << len(sums)))


def _icc(sums: np.ndarray) -> np.ndarray:
    """[rows, 6] of items, squared sizes, sum, squared sums over sizes, squares, entities -> [rows]; NaN where it is not defined."""
    items, squared_sizes, total, between_raw, squares, count = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (between_raw - total * total / items) / (count - 1)
        within = (squares - between_raw) / (items - count)
        size = (items - squared_sizes / items) / (count - 1)
        variance = between + (size - 1) * within
        result: np.ndarray = np.where((items > count) & (variance > 1e-12), (between - within) / variance, np.nan)
    return result
