"""Simulated gates, decided by the function that the gatekeeper calls: ``decide_in_order``, axis by axis, up to the first refusal.

Answers are drawn as counts of wins and losses, and equal counts are judged once: ``judge_counts`` is what ``judge`` calls for items that
are each an entity of their own. The first gates of every cell are decided a second time from single answers; both must agree.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from flywheel.gate.attempts import Attempts
from flywheel.gate.axes import AxisPolicy, AxisVerdict, GateVerdict, PairedCounts
from flywheel.gate.axis_order import GOLDEN, GatePolicy, axes_in_order, slice_axis
from flywheel.gate.axis_verdict import judge, judge_counts
from flywheel.gate.decide import decide_in_order
from flywheel.gate.entities import measure
from flywheel.gate.paired_tests import score_z

Rates = tuple[float, float]
"""Share of items lost, share won."""
SINGLE_GATES = 8
"""Per cell, decided from single answers too."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some items with one pair of rates. ``axis``: its own protected axis, or "" for golden items outside any protected slice."""

    axis: str
    items: int
    rates: Rates
    golden: bool = True


def golden(items: int, slices: int, *, rest: Rates, first: Rates | None = None) -> list[Part]:
    """One, three or five protected slices of 20, 20, 10 % each; ``first``: the rates of one of them, when it differs."""
    share = 0.1 if slices == 5 else 0.2
    each = round(items * share)
    parts = [Part(axis=slice_axis(str(at)), items=each, rates=first if first and at == 0 else rest) for at in range(slices)]
    return [*parts, Part(axis="", items=items - each * slices, rates=rest)]


def policies(parts: Sequence[Part], attempts: Attempts | None = None) -> dict[str, AxisPolicy]:
    """The standard policy's axes that have items here, in the gate's order."""
    protected = [part.axis[len("golden[") : -1] for part in parts if part.axis.startswith("golden[")]
    asked = {GOLDEN, *(part.axis for part in parts)}
    every = axes_in_order(policy=GatePolicy(), protected=protected, attempts=attempts)
    return {policy.name: policy for policy in every if policy.name in asked}


@lru_cache(maxsize=1_000_000)
def verdict_of(policy: AxisPolicy, n: int, wins: int, losses: int) -> AxisVerdict:
    """The axis' verdict on these counts."""
    return judge_counts(policy=policy, arm="champion", counts=PairedCounts(both=n - wins - losses, wins=wins, losses=losses, neither=0))


Counts = Mapping[str, tuple[int, int, int]]
"""By axis: items, wins, losses."""


def passed(parts: Sequence[Part], *, gates: int, rng: np.random.Generator, attempts: Attempts | None = None) -> np.ndarray:
    """[gates] of bool."""
    axes = policies(parts, attempts)
    drawn = [rng.multinomial(part.items, [*part.rates, 1 - sum(part.rates)], size=gates) for part in parts]
    found = np.array([_passes(axes, counts) for counts in _counts(parts, drawn)], dtype=bool)
    for gate in range(min(SINGLE_GATES, gates)):
        single = _from_single_answers(parts, [counts[gate] for counts in drawn], axes)
        assert single == found[gate], "the counted and the single gate disagree"
    return found


def _counts(parts: Sequence[Part], drawn: Sequence[np.ndarray], *, items_each: int = 1) -> list[Counts]:
    """For each gate the counts of its axes. ``drawn``: per part [gates, (losses, wins, same)]; ``items_each`` of an entity make one."""
    together = np.sum([counts for part, counts in zip(parts, drawn, strict=True) if part.golden], axis=0)
    columns = {part.axis: (part.items, counts) for part, counts in zip(parts, drawn, strict=True) if part.axis}
    columns[GOLDEN] = (sum(part.items for part in parts if part.golden), together)
    lists = {axis: (items // items_each, counts[:, :2].tolist()) for axis, (items, counts) in columns.items()}
    return [{axis: (items, rows[gate][1], rows[gate][0]) for axis, (items, rows) in lists.items()} for gate in range(len(together))]


def _passes(axes: Mapping[str, AxisPolicy], counts: Counts) -> bool:
    def of_axis(policy: AxisPolicy) -> AxisVerdict:
        return verdict_of(policy, *counts[policy.name])

    return _decided(axes, of_axis)


def _decided(axes: Mapping[str, AxisPolicy], judge_one: Callable[[AxisPolicy], AxisVerdict]) -> bool:
    decision = decide_in_order(axes=list(axes.values()), judge=judge_one, has_items=lambda _: True)
    return decision.verdict is GateVerdict.PASS


def _from_single_answers(parts: Sequence[Part], counts: Sequence[np.ndarray], axes: Mapping[str, AxisPolicy]) -> bool:
    baseline: list[bool] = []
    challenger: list[bool] = []
    axis_of: list[str] = []
    of_golden: list[bool] = []
    for part, (losses, wins, same) in zip(parts, counts, strict=True):
        baseline += [True] * int(losses) + [False] * int(wins) + [True] * int(same)
        challenger += [False] * int(losses) + [True] * int(wins) + [True] * int(same)
        axis_of += [part.axis] * part.items
        of_golden += [part.golden] * part.items

    def of_axis(policy: AxisPolicy) -> AxisVerdict:
        chosen = of_golden if policy.name == GOLDEN else [name == policy.name for name in axis_of]
        old = [value for value, kept in zip(baseline, chosen, strict=True) if kept]
        return judge(policy=policy, baselines={"champion": old}, challenger=[v for v, kept in zip(challenger, chosen, strict=True) if kept])

    return _decided(axes, of_axis)


# -- several answers to one entity -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ByEntity:
    """[gates] of bool each: judged by entity; as if all items were independent; on the first answer of each entity."""

    adjusted: np.ndarray
    as_if_independent: np.ndarray
    one_an_entity: np.ndarray


def passed_by_entity(parts: Sequence[Part], *, answers: int, icc: float, gates: int, rng: np.random.Generator) -> ByEntity:
    """Five correlated answers to an entity: their shares of losses and wins are drawn per entity (Dirichlet), then the answers.

    Gates that could not pass even with independent items are taken as not passed, because the same counts on fewer items show less; the
    first of them in every cell are decided all the same.
    """
    axes = policies(parts)
    drawn = [_alike(part, answers=answers, icc=icc, gates=gates, rng=rng) for part in parts]
    sums = [of_entity.sum(axis=1) for of_entity, _ in drawn]
    independent = np.array([_passes(axes, counts) for counts in _counts(parts, sums)], dtype=bool)
    first = [of_entity.sum(axis=1) for _, of_entity in drawn]
    ones = np.array([_passes(axes, counts) for counts in _counts(parts, first, items_each=answers)], dtype=bool)
    possible = np.ones(gates, dtype=bool)
    for part, total in zip(parts, sums, strict=True):
        if part.axis:
            possible[possible] = _score_passes(axes[part.axis], part.items, total[possible])
    everything = np.concatenate([of_entity for of_entity, _ in drawn], axis=1)
    net = (everything[..., 1] - everything[..., 0]).astype(float)
    # At one standard deviation or less a sum of flipped signs is reached in at least 7 of 64 (Hendriks and van Zuijlen; Dvorak and
    # Tiep 2022): no such gate can be better at 2.5 %.
    possible &= (net.sum(axis=1) > 0) & (net.sum(axis=1) ** 2 > (net**2).sum(axis=1))
    adjusted = np.array([bool(possible[gate]) and _judged_by_entity(parts, drawn, gate, axes) for gate in range(gates)])
    for gate in np.flatnonzero(~possible)[:SINGLE_GATES].tolist():
        assert not _judged_by_entity(parts, drawn, gate, axes), "a gate that was left out passes"
    return ByEntity(adjusted=adjusted, as_if_independent=independent, one_an_entity=ones)


def _alike(part: Part, *, answers: int, icc: float, gates: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """[gates, entities, (losses, wins, same)]: of all answers to an entity, and of its first answer."""
    weights = np.array([*part.rates, 1 - sum(part.rates)]) * (1 - icc) / icc
    shape = (gates, part.items // answers, 3)
    shares = np.where(weights > 0, rng.standard_gamma(np.broadcast_to(np.maximum(weights, 1e-300), shape)), 0.0)
    shares /= np.maximum(shares.sum(axis=-1, keepdims=True), 1e-300)
    shares[..., 2] = np.clip(1 - shares[..., 0] - shares[..., 1], 0, 1)
    first = rng.multinomial(1, shares).astype(np.int16)
    return first + rng.multinomial(answers - 1, shares).astype(np.int16), first


def _score_passes(policy: AxisPolicy, n: int, counts: np.ndarray) -> np.ndarray:
    limit = NormalDist().inv_cdf(1 - policy.alpha)
    different, where = np.unique(counts[:, :2], axis=0, return_inverse=True)
    found = [score_z(n=n, wins=int(w), losses=int(lost), difference=-policy.margin) > limit for lost, w in different]
    return np.array(found, dtype=bool)[where.reshape(-1)]


def _judged_by_entity(
    parts: Sequence[Part], drawn: Sequence[tuple[np.ndarray, np.ndarray]], gate: int, axes: Mapping[str, AxisPolicy]
) -> bool:
    """From single answers, as the gatekeeper does: their correlation is measured on the whole golden set."""
    old: dict[str, list[bool]] = {GOLDEN: []}
    new: dict[str, list[bool]] = {GOLDEN: []}
    who: dict[str, list[str]] = {GOLDEN: []}
    for at, (part, (sums, _)) in enumerate(zip(parts, drawn, strict=True)):
        before: list[bool] = []
        after: list[bool] = []
        names: list[str] = []
        for entity, (losses, wins, same) in enumerate(sums[gate].tolist()):
            before += [True] * losses + [False] * wins + [True] * same
            after += [False] * losses + [True] * wins + [True] * same
            names += [f"{at}-{entity}"] * (losses + wins + same)
        for axis in filter(None, (GOLDEN, part.axis)):
            old[axis] = old.get(axis, []) + before
            new[axis] = new.get(axis, []) + after
            who[axis] = who.get(axis, []) + names
    alike = measure(differences=[int(b) - int(a) for a, b in zip(old[GOLDEN], new[GOLDEN], strict=True)], entities=who[GOLDEN])

    def of_axis(policy: AxisPolicy) -> AxisVerdict:
        axis = policy.name
        agreement = None if axis == GOLDEN else alike
        return judge(policy=policy, baselines={"champion": old[axis]}, challenger=new[axis], entities=who[axis], agreement=agreement)

    return _decided(axes, of_axis)
