"""Does the challenger pass on this axis?

In: the axis' policy, right or wrong per item of challenger and baselines, the items' entities. Out: one AxisVerdict with its reason.
Which items belong to an axis, and asking the arms, is not done here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel.errors import InvalidInput
from flywheel.gate.axes import AxisPolicy, AxisVerdict, GateVerdict, PairedCounts, Role
from flywheel.gate.entities import Agreement, EffectiveCounts, design_effect, effective, entity_size, measure, p_better_by_entity
from flywheel.gate.exact import least_items, p_worse, shown_not_worse
from flywheel.gate.paired import difference_bounds, needed_at_this_rate, p_better, pair, wins_needed
from flywheel.gate.stated import entities_named

_MEASURED = "measured on these items"
_MEASURED_ELSEWHERE = "measured on the larger set that these items are from"
_ASSUMED = "assumed: it could not be measured"
MOST_TIMES = 50  # of the items a first guess says, beyond which nobody collects them


def judge(
    *,
    policy: AxisPolicy,
    baselines: Mapping[str, Sequence[bool]],
    challenger: Sequence[bool],
    entities: Sequence[str] = (),
    agreement: Agreement | None = None,
) -> AxisVerdict:
    """Against the best of ``baselines`` (the first named wins a tie): a challenger that beats only the weakest proves nothing.

    Item i is the same item in all sequences (``line_up`` sees to that). ``entities``: whom item i belongs to; empty when every item
    stands for itself. ``agreement``: how alike the items of an entity are, when a larger set than this axis shows it better.
    """
    if not policy.binary:
        raise InvalidInput("its grades are scores", where=f"gate.{policy.name}", remedy="Judge it by judge_scores, or declare it binary.")
    if not baselines:
        raise InvalidInput("there is no baseline", where=f"gate.{policy.name}", remedy="Ask at least the base model.")
    entities_named(entities)
    paired = {name: pair(baseline=answers, challenger=challenger) for name, answers in baselines.items()}
    arm = max(paired, key=lambda name: paired[name].both + paired[name].losses)
    counts, others = paired[arm], {name: found for name, found in paired.items() if name != arm}
    if len(set(entities)) == len(entities) == counts.n or not entities:
        p = p_better(wins=counts.wins, losses=counts.losses)
        return _verdict(policy, arm, counts, _Evidence(n=counts.n, wins=counts.wins, losses=counts.losses, p_equal=p), others)
    differences = [int(new) - int(old) for new, old in zip(challenger, baselines[arm], strict=True)]
    p = p_better_by_entity(differences=differences, entities=entities)
    alike = agreement or measure(differences=differences, entities=entities)
    spread = design_effect(entities=entities, likeness=alike.high)
    worth = effective(n=counts.n, wins=counts.wins, losses=counts.losses, design_effect=spread)
    evidence = _Evidence(
        n=worth.n,
        wins=worth.wins,
        losses=worth.losses,
        p_equal=p,
        entities=len(set(entities)),
        entity_size=entity_size(entities),
        likeness=alike.high,
        likeness_is=(_MEASURED_ELSEWHERE if agreement else _MEASURED) if alike.measured else _ASSUMED,
        worth=worth,
    )
    return _verdict(policy, arm, counts, evidence, others)


def judge_counts(*, policy: AxisPolicy, arm: str, counts: PairedCounts) -> AxisVerdict:
    """The verdict on items that stand for themselves, from their counts alone."""
    p = p_better(wins=counts.wins, losses=counts.losses)
    return _verdict(policy, arm, counts, _Evidence(n=counts.n, wins=counts.wins, losses=counts.losses, p_equal=p), {})


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """The counts that are judged: those of the items, or what they are worth where entities repeat."""

    n: int
    wins: int
    losses: int
    p_equal: float
    entities: int | None = None
    entity_size: float | None = None
    likeness: float | None = None
    likeness_is: str = ""
    worth: EffectiveCounts | None = None

    def said(self, counts: PairedCounts) -> str:
        seen = f"{counts.wins} wins, {counts.losses} losses on {counts.n} items"
        if self.worth is None:
            return seen
        return f"{seen} of {self.entities} entities (worth {self.wins} and {self.losses} on {self.n} independent ones)"

    def in_items(self, independent: int) -> int:
        """How many items like these are worth so many independent ones."""
        return independent if self.worth is None else math.ceil(independent * self.worth.design_effect - 1e-9)


def _verdict(policy: AxisPolicy, arm: str, counts: PairedCounts, seen: _Evidence, others: Mapping[str, PairedCounts]) -> AxisVerdict:
    low, high = difference_bounds(n=seen.n, wins=seen.wins, losses=seen.losses, alpha=policy.alpha)
    p, p_is = None, ""
    smallest = least_wins = None
    if policy.role is Role.SUPERIORITY:
        p, least_wins = seen.p_equal, wins_needed(alpha=policy.alpha)
        p_is = "exact McNemar" if seen.entities is None else "sign flips of whole entities"
        verdict, reason, needs = _better(policy, counts, seen)
    elif policy.role is Role.NON_INFERIORITY:
        p = p_worse(n=seen.n, wins=seen.wins, losses=seen.losses, margin=policy.margin)
        p_is = "exact, over all rates at which the challenger is worse by the margin"
        smallest = seen.in_items(least_items(margin=policy.margin, alpha=policy.alpha))
        verdict, reason, needs = _not_worse(policy, counts, seen, low, high, p)
    else:
        verdict, reason, needs = GateVerdict.PASS, f"reported only: {seen.said(counts)}", None
    n = max(counts.n, 1)
    return AxisVerdict(
        name=policy.name,
        role=policy.role,
        n=counts.n,
        baseline_arm=arm,
        baseline=(counts.both + counts.losses) / n,
        challenger=(counts.both + counts.wins) / n,
        wins=counts.wins,
        losses=counts.losses,
        p=p,
        low=low,
        high=high,
        margin=policy.margin,
        standard_margin=policy.standard_margin,
        alpha=policy.alpha,
        verdict=verdict,
        reason=reason,
        needs_n=needs,
        divided_by=policy.divided_by,
        entities=seen.entities,
        likeness=seen.likeness,
        likeness_is=seen.likeness_is,
        effective_n=seen.worth.n if seen.worth else None,
        effective_wins=seen.worth.wins if seen.worth else None,
        effective_losses=seen.worth.losses if seen.worth else None,
        smallest_n=smallest,
        least_wins=least_wins,
        margin_reason=policy.reason,
        p_is=p_is,
        entity_size=seen.entity_size,
        design_effect=seen.worth.design_effect if seen.worth else None,
        others=others,
    )


def _enough_items(policy: AxisPolicy, counts: PairedCounts, worth: EffectiveCounts, *, least: int) -> int:
    """From how many items on the interval would pass at these shares: what they are worth is rounded against the challenger."""
    items = least
    while items < MOST_TIMES * least:
        won, lost = counts.wins * items // counts.n, -(-counts.losses * items // counts.n)
        found = effective(n=items, wins=won, losses=lost, design_effect=worth.design_effect)
        low, _ = difference_bounds(n=found.n, wins=found.wins, losses=found.losses, alpha=policy.alpha)
        if low > -policy.margin:
            break
        items += max(1, items // 200)
    return items


def _better(policy: AxisPolicy, counts: PairedCounts, seen: _Evidence) -> tuple[GateVerdict, str, int | None]:
    p = seen.p_equal
    by = " by entity" if seen.entities is not None else ""
    over = f", divided over {policy.divided_by} attempts" if policy.divided_by > 1 else ""
    told = f"{seen.said(counts)}, p = {p:.2g}{by} (one-sided {policy.alpha:.3g}{over})"
    if counts.n and p <= policy.alpha:
        return GateVerdict.PASS, f"better: {told}", None
    needed_wins = wins_needed(alpha=policy.alpha)
    to_win = counts.wins + counts.neither
    if counts.n == 0:
        return GateVerdict.CANNOT_TELL, f"cannot tell: there are no items; needs at least {needed_wins}", needed_wins
    if seen.entities is not None and seen.entities < needed_wins:
        needs = math.ceil(needed_wins * counts.n / seen.entities)
        reason = f"cannot tell: {seen.entities} entities cannot show it, however many items each has; needs about {needs} items"
        return GateVerdict.CANNOT_TELL, reason, needs
    if counts.losses == 0 and to_win < needed_wins:
        if to_win == 0:
            return GateVerdict.REFUSE, "not better: the baseline is right on every item, which leaves nothing to win", None
        needs = math.ceil(needed_wins * counts.n / to_win)
        return GateVerdict.CANNOT_TELL, f"cannot tell: only {to_win} items could be won; needs {needs} items", needs
    return GateVerdict.REFUSE, f"not shown to be better: {told}", None


def _not_worse(
    policy: AxisPolicy, counts: PairedCounts, seen: _Evidence, low: float, high: float, p: float
) -> tuple[GateVerdict, str, int | None]:
    told = f"{seen.said(counts)}, difference between {low:+.3f} and {high:+.3f}, p = {p:.2g}"
    n, wins, losses = seen.n, seen.wins, seen.losses
    if shown_not_worse(n=n, wins=wins, losses=losses, margin=policy.margin, alpha=policy.alpha):
        return GateVerdict.PASS, f"not worse by {policy.margin:g} or more: {told}", None
    if n and high < 0:
        return GateVerdict.REFUSE, f"worse: {told} (margin {policy.margin:g})", None
    least = least_items(margin=policy.margin, alpha=policy.alpha)
    if n >= least and wins - losses <= -policy.margin * n:
        return GateVerdict.REFUSE, f"worse by more than the margin {policy.margin:g}: {told}", None
    # From the items as they were seen: the counts that they are worth are rounded, and a rounded loss can be a margin's width.
    seen_rate = needed_at_this_rate(n=counts.n, wins=counts.wins, losses=counts.losses, margin=policy.margin, alpha=policy.alpha)
    at_this_rate = seen_rate or least
    needs = seen.in_items(max(at_this_rate, n + 1, least if wins <= losses else 0))
    if seen_rate is not None and seen.worth is not None:
        needs = _enough_items(policy, counts, seen.worth, least=needs)
    return GateVerdict.CANNOT_TELL, f"cannot tell: could be worse by {policy.margin:g}: {told}; needs {needs} items", needs
