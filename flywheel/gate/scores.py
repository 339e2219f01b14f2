"""Does the challenger pass on an axis whose grades are scores and not correct or incorrect?

In: the axis' policy, a score in [0, 1] per item and arm, the items' entities, a seed. Out: one AxisVerdict with its reason.
Which test is taken follows from the policy's ``binary`` and never from the scores: a binary axis goes to the exact tests, and there
a score between 0 and 1 is an error; every other axis goes to the bootstrap. No axis of the gatekeeper has scores yet.

A bootstrap knows only what was seen: of few or nearly equal values it says "no difference" with certainty (5 % pure losses pass as not
worse in 22 to 61 % at 10 to 30 items). So it is used on 100 entities or more, and each bound is that of the entities seen and of a few
more that were not: whole losses for the lower bound, whole wins for the upper one. There are ln(1 / alpha) of them, as many as stay
unseen with chance alpha.

A verdict never improves when a score gets worse. What is drawn follows from the seed and the number of entities; so every draw's mean
falls or stays, so do their quantiles and the mean, and a verdict asks nothing else of the scores.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import InvalidInput
from flywheel.gate.axes import AxisPolicy, AxisTest, AxisVerdict, Clustering, GateVerdict, RequiredItems, Role
from flywheel.gate.axis_verdict import judge

LEAST_ENTITIES = 100
DRAWS = 4_000
"""At one-sided 1 % the bound rests on the 40 lowest draws: its own error is then about 4 % of the interval's half-width."""
_AT_ONCE = 4_000_000
"""Entities drawn at a time: 32 MB."""


def judge_scores(
    *,
    policy: AxisPolicy,
    baselines: Mapping[str, Sequence[float]],
    challenger: Sequence[float],
    entities: Sequence[str] = (),
    seed: int,
) -> AxisVerdict:
    """Entities are drawn with replacement, all items of one together. Source: Efron and Tibshirani (1993), An Introduction to the
    Bootstrap, chapters 8 and 13 (percentile interval; the cluster as the unit of drawing)."""
    if not baselines:
        raise InvalidInput("there is no baseline", where=f"gate.{policy.name}", remedy="Ask at least the base model.")
    new = _scores(policy, "challenger", challenger, len(challenger))
    old = {name: _scores(policy, name, values, len(challenger)) for name, values in baselines.items()}
    if entities and len(entities) != len(challenger):
        raise InvalidInput(
            "items and entities disagree",
            where=f"gate.{policy.name}",
            value=f"{len(challenger)} and {len(entities)}",
            remedy="Name the entity of every item.",
        )
    if policy.binary:
        correct = {name: (scores == 1).tolist() for name, scores in old.items()}
        return judge(policy=policy, baselines=correct, challenger=(new == 1).tolist(), entities=entities)
    arm = max(old, key=lambda name: float(old[name].sum()))
    difference = new - old[arm]
    index = _numbered(entities) if entities else np.arange(difference.size)
    sums = np.asarray(np.bincount(index, weights=difference), dtype=np.float64)
    sizes = np.bincount(index).astype(np.float64)
    n, mean = difference.size, float(difference.mean()) if difference.size else 0.0
    enough = sizes.size >= LEAST_ENTITIES
    low, high = _interval(sums, sizes, alpha=policy.alpha, seed=seed) if enough else (-1.0, 1.0)
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    found = _Found(n=n, entities=sizes.size, mean=mean, low=low, high=high)
    verdict, reason, required = _judged(policy, found)
    return AxisVerdict(
        name=policy.name,
        role=policy.role,
        n=n,
        baseline_arm=arm,
        baseline=float(old[arm].mean()) if n else 0.0,
        challenger=float(new.mean()) if n else 0.0,
        wins=wins,
        losses=losses,
        verdict=verdict,
        reason=reason,
        test=AxisTest(
            alpha=policy.alpha,
            margin=policy.margin,
            standard_margin=policy.standard_margin,
            divided_by=policy.divided_by,
            margin_reason=policy.reason,
            p_is="bootstrap of whole entities",
            low=low,
            high=high,
        ),
        required=RequiredItems(at_these_shares=required, smallest=LEAST_ENTITIES),
        clusters=Clustering(entities=sizes.size),
    )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What the bootstrap says of the mean difference."""

    n: int
    entities: int
    mean: float
    low: float
    high: float


def _judged(policy: AxisPolicy, found: _Found) -> tuple[GateVerdict, str, int | None]:
    """Verdict, reason, and how many items would be enough."""
    n, entities, mean, low, high = found.n, found.entities, found.mean, found.low, found.high
    seen = f"mean difference {mean:+.3f} on {n} items of {entities} entities, between {low:+.3f} and {high:+.3f}"
    if policy.role is Role.REPORTED:
        return GateVerdict.PASS, f"reported only: {seen}", None
    if entities < LEAST_ENTITIES:
        required = math.ceil(n * LEAST_ENTITIES / entities) if n else LEAST_ENTITIES
        return GateVerdict.CANNOT_TELL, f"cannot tell: {entities} entities; scores need {LEAST_ENTITIES}, about {required} items", required
    if policy.role is Role.SUPERIORITY:
        if low > 0:
            return GateVerdict.PASS, f"better: {seen} (one-sided {policy.alpha:.3g})", None
        return GateVerdict.REFUSE, f"not shown to be better: {seen} (one-sided {policy.alpha:.3g})", None
    if low > -policy.margin:
        return GateVerdict.PASS, f"not worse by {policy.margin:g} or more: {seen}", None
    if high < 0 or mean <= -policy.margin:
        return GateVerdict.REFUSE, f"worse: {seen} (margin {policy.margin:g})", None
    required = max(math.ceil(n * ((mean - low) / (mean + policy.margin)) ** 2), n + 1)
    return GateVerdict.CANNOT_TELL, f"cannot tell: could be worse by {policy.margin:g}: {seen}; needs {required} items", required


def _scores(policy: AxisPolicy, arm: str, values: Sequence[float], items: int) -> NDArray[np.float64]:
    where = f"gate.{policy.name}.{arm}"
    if len(values) != items:
        raise InvalidInput(
            "the arms were asked different items", where=where, value=f"{len(values)} and {items}", remedy="Ask every arm every item."
        )
    try:
        found = np.asarray(values, dtype=float)
    except (TypeError, ValueError, OverflowError):
        found = np.zeros((0, 0))
    if found.shape != (items,):
        raise InvalidInput("scores are numbers, one an item", where=where, remedy="Grade every item once.")
    outside = np.flatnonzero(~((found >= 0) & (found <= 1)))
    if outside.size:
        at = int(outside[0])
        raise InvalidInput(
            f"a score must lie between 0 and 1 (item {at})", where=where, value=float(found[at]), remedy="Scale the grader's scores."
        )
    halves = np.flatnonzero((found > 0) & (found < 1))
    if policy.binary and halves.size:
        at = int(halves[0])
        raise InvalidInput(
            f"neither correct nor incorrect (item {at})", where=where, value=float(found[at]), remedy="Declare the axis with binary=False."
        )
    return found


def _numbered(entities: Sequence[str]) -> NDArray[np.int64]:
    number = {entity: at for at, entity in enumerate(sorted(set(entities)))}
    return np.array([number[entity] for entity in entities], dtype=np.int64)


def _interval(sums: NDArray[np.float64], sizes: NDArray[np.float64], *, alpha: float, seed: int) -> tuple[float, float]:
    """Bounds of the mean. Quantiles are drawn values: between two of them rounding could break the order."""
    unseen = np.full(math.ceil(math.log(1 / alpha)), sizes.mean())
    items, lost, won = (np.concatenate([sums_or_sizes, rest]) for sums_or_sizes, rest in ((sizes, unseen), (sums, -unseen), (sums, unseen)))
    lows, highs = [], []
    for drawn in _draws(items.size, seed):
        total = items[drawn].sum(axis=1)
        lows.append(lost[drawn].sum(axis=1) / total)
        highs.append(won[drawn].sum(axis=1) / total)
    low = np.quantile(np.concatenate(lows), alpha, method="lower")
    high = np.quantile(np.concatenate(highs), 1 - alpha, method="higher")
    return float(low), float(high)


def _draws(entities: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """[some draws, entities], ``DRAWS`` in all."""
    rng, at_once = np.random.default_rng(seed), max(1, _AT_ONCE // entities)
    for begun in range(0, DRAWS, at_once):
        yield rng.integers(0, entities, size=(min(at_once, DRAWS - begun), entities))
