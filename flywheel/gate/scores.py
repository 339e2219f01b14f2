"""Does the challenger pass on an axis whose grades are scores and not right or wrong?

In: the axis' policy, a score in [0, 1] per item and arm, the items' entities, a seed. Out: one AxisVerdict with its reason.
Scores that are all 0 or 1 are right or wrong, and go to the exact tests: one score between them can therefore change the verdict to
the better or the worse, as it can where it is the one that makes enough of them differ. No axis of the gatekeeper has scores yet.

The bootstrap interval is used here only, and only on 100 entities or more of which enough differ: on small or nearly equal sets it
says "no difference" with certainty (5 % pure losses pass as not worse in 22 to 61 % at 10 to 30 items).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from flywheel.errors import InvalidInput
from flywheel.gate.axes import AxisPolicy, AxisVerdict, GateVerdict, Role
from flywheel.gate.judge_axis import check, judge

LEAST_ENTITIES = 100
LEAST_DIFFERING = 30
"""Fewer entities that differ, and the bootstrap draws from too few values: its interval is too short."""
DRAWS = 4_000
"""At one-sided 1 % the bound rests on the 40 lowest draws: its own error is then about 4 % of the interval's half-width."""


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
    check(policy)
    if not baselines:
        raise InvalidInput("there is no baseline", where=f"gate.{policy.name}", remedy="Ask at least the base model.")
    scores = {name: _scores(policy, name, values, len(challenger)) for name, values in {**baselines, "challenger": challenger}.items()}
    if entities and len(entities) != len(challenger):
        raise InvalidInput(
            "items and entities disagree",
            where=f"gate.{policy.name}",
            value=f"{len(challenger)} and {len(entities)}",
            remedy="Name the entity of every item.",
        )
    if all(bool(np.isin(values, (0.0, 1.0)).all()) for values in scores.values()):
        right = {name: [bool(value) for value in values] for name, values in scores.items()}
        return judge(policy=policy, baselines={name: right[name] for name in baselines}, challenger=right["challenger"], entities=entities)
    arm = max(baselines, key=lambda name: float(scores[name].sum()))
    difference = scores["challenger"] - scores[arm]
    _, index = np.unique(np.asarray(entities or [str(at) for at in range(len(difference))], dtype=str), return_inverse=True)
    sums, sizes = np.bincount(index, weights=difference), np.bincount(index).astype(float)
    differing = int((np.abs(sums) > 1e-12).sum())
    enough = len(sizes) >= LEAST_ENTITIES and differing >= LEAST_DIFFERING
    low, high = _interval(sums, sizes, alpha=policy.alpha, seed=seed) if enough else (-1.0, 1.0)
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    where = f"{len(difference)} items of {len(sizes)} entities"
    seen = f"mean difference {float(difference.mean()):+.3f} on {where}, between {low:+.3f} and {high:+.3f}"
    needs: int | None = None
    if policy.role is Role.REPORTED:
        verdict, reason = GateVerdict.PASS, f"reported only: {seen}"
    elif not enough:
        needs = math.ceil(len(difference) * max(LEAST_ENTITIES / len(sizes), LEAST_DIFFERING / max(differing, 1)))
        verdict = GateVerdict.CANNOT_TELL
        reason = f"cannot tell: {len(sizes)} entities, {differing} of them differ; scores need {LEAST_ENTITIES} and {LEAST_DIFFERING}"
    elif policy.role is Role.SUPERIORITY:
        better = low > 0
        verdict = GateVerdict.PASS if better else GateVerdict.REFUSE
        reason = f"{'better' if better else 'not shown to be better'}: {seen} (one-sided {policy.alpha:.3g})"
    elif low > -policy.margin:
        verdict, reason = GateVerdict.PASS, f"not worse by {policy.margin:g} or more: {seen}"
    elif high < 0 or float(difference.mean()) <= -policy.margin:
        verdict, reason = GateVerdict.REFUSE, f"worse: {seen} (margin {policy.margin:g})"
    else:
        mean = float(difference.mean())
        needs = math.ceil(len(difference) * ((mean - low) / (mean + policy.margin)) ** 2)
        verdict, reason = GateVerdict.CANNOT_TELL, f"cannot tell: could be worse by {policy.margin:g}: {seen}; needs {needs} items"
    return AxisVerdict(
        name=policy.name,
        role=policy.role,
        n=len(difference),
        baseline_arm=arm,
        baseline=float(scores[arm].mean()),
        challenger=float(scores["challenger"].mean()),
        wins=wins,
        losses=losses,
        p=None,
        low=low,
        high=high,
        margin=policy.margin,
        standard_margin=policy.standard_margin,
        alpha=policy.alpha,
        verdict=verdict,
        reason=reason,
        needs_n=needs,
        divided_by=policy.divided_by,
        entities=len(sizes),
        smallest_n=LEAST_ENTITIES,
    )


def _scores(policy: AxisPolicy, arm: str, values: Sequence[float], items: int) -> np.ndarray:
    found = np.asarray(values, dtype=float)
    if len(found) != items:
        raise InvalidInput(
            "the arms were asked different items",
            where=f"gate.{policy.name}.{arm}",
            value=f"{len(found)} and {items}",
            remedy="Ask every arm every item of the axis.",
        )
    wrong = np.flatnonzero(~((found >= 0) & (found <= 1)))
    if len(wrong):
        raise InvalidInput(
            f"a score must lie between 0 and 1 (item {int(wrong[0])})",
            where=f"gate.{policy.name}.{arm}",
            value=float(found[wrong[0]]),
            remedy="Scale the grader's scores.",
        )
    return found


def _interval(sums: np.ndarray, sizes: np.ndarray, *, alpha: float, seed: int) -> tuple[float, float]:
    draws = np.random.default_rng(seed).integers(0, len(sums), size=(DRAWS, len(sums)))
    means = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    return float(np.quantile(means, alpha)), float(np.quantile(means, 1 - alpha))
