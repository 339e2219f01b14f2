"""Does the challenger pass on this axis?

In: the axis' policy, correct or incorrect per item of challenger and baselines, the items' entities. Out: one AxisVerdict with its reason.
Which items and arms belong to an axis is decided in ``questions``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel.gate.axes import AxisPolicy, AxisTest, AxisVerdict, Clustering, GateVerdict, PairedCounts, RequiredItems, Role
from flywheel.gate.entities import Agreement, EffectiveCounts, design_effect, effective, entity_size, measure, p_better_by_entity
from flywheel.gate.exact_not_worse import least_items, p_worse, shown_not_worse
from flywheel.gate.paired_tests import difference_bounds, needed_at_this_rate, p_better, pair, wins_needed

_MEASURED = "measured on these items"
_MEASURED_ELSEWHERE = "measured on the larger set that these items are from"
_ASSUMED = "assumed: it could not be measured"
MOST_TIMES = 50
"""The search for a required number of items ends at so many times its first guess; nobody collects more."""


def judge(
    *,
    policy: AxisPolicy,
    baselines: Mapping[str, Sequence[bool]],
    challenger: Sequence[bool],
    entities: Sequence[str] = (),
    agreement: Agreement | None = None,
) -> AxisVerdict:
    """Against the best of ``baselines`` (the first named wins a tie): a challenger that beats only the weakest proves nothing.

    Item i is the same item in all sequences. ``entities``: whom item i belongs to; empty when every item is an entity of its own.
    ``agreement``: the correlation of one entity's items, when a larger set than this axis shows it better.
    """
    paired = {name: pair(baseline=answers, challenger=challenger) for name, answers in baselines.items()}
    arm = max(paired, key=lambda name: paired[name].both + paired[name].losses)
    counts, others = paired[arm], {name: found for name, found in paired.items() if name != arm}
    if len(set(entities)) == len(entities):
        return judge_counts(policy=policy, arm=arm, counts=counts, others=others)
    differences = [int(new) - int(old) for new, old in zip(challenger, baselines[arm], strict=True)]
    alike = agreement or measure(differences=differences, entities=entities)
    found = effective(n=counts.n, wins=counts.wins, losses=counts.losses, design_effect=design_effect(entities=entities, icc=alike.high))
    sample = _Sample(
        n=found.n,
        wins=found.wins,
        losses=found.losses,
        p_equal=p_better_by_entity(differences=differences, entities=entities),
        effective=found,
        clusters=Clustering(
            entities=len(set(entities)),
            icc=alike.high,
            icc_is=(_MEASURED_ELSEWHERE if agreement else _MEASURED) if alike.measured else _ASSUMED,
            entity_size=entity_size(entities),
            design_effect=found.design_effect,
            effective_n=found.n,
            effective_wins=found.wins,
            effective_losses=found.losses,
        ),
    )
    return _verdict(policy, arm, counts, sample, others)


def judge_counts(*, policy: AxisPolicy, arm: str, counts: PairedCounts, others: Mapping[str, PairedCounts] | None = None) -> AxisVerdict:
    """The verdict on items that are each an entity of their own, from their counts. ``others``: the arms that did worse."""
    p = p_better(wins=counts.wins, losses=counts.losses)
    return _verdict(policy, arm, counts, _Sample(n=counts.n, wins=counts.wins, losses=counts.losses, p_equal=p), others or {})


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """The counts that are judged: those of the items, or the effective ones where entities repeat."""

    n: int
    wins: int
    losses: int
    p_equal: float
    effective: EffectiveCounts | None = None
    clusters: Clustering | None = None

    def text(self, counts: PairedCounts) -> str:
        seen = f"{counts.wins} wins, {counts.losses} losses on {counts.n} items"
        if self.clusters is None:
            return seen
        return f"{seen} of {self.clusters.entities} entities (effectively {self.wins} and {self.losses} on {self.n} independent ones)"

    def in_items(self, independent: int) -> int:
        """How many items like these have this effective sample size."""
        return independent if self.effective is None else math.ceil(independent * self.effective.design_effect - 1e-9)


def _verdict(policy: AxisPolicy, arm: str, counts: PairedCounts, sample: _Sample, others: Mapping[str, PairedCounts]) -> AxisVerdict:
    low, high = difference_bounds(n=sample.n, wins=sample.wins, losses=sample.losses, alpha=policy.alpha)
    p, p_is = None, ""
    smallest = least_wins = None
    if policy.role is Role.SUPERIORITY:
        p, least_wins = sample.p_equal, wins_needed(alpha=policy.alpha)
        p_is = "exact McNemar" if sample.clusters is None else "sign flips of whole entities"
        verdict, reason, required = _better(policy, counts, sample)
    elif policy.role is Role.NON_INFERIORITY:
        p = p_worse(n=sample.n, wins=sample.wins, losses=sample.losses, margin=policy.margin)
        p_is = "exact, over all rates at which the challenger is worse by the margin"
        smallest = sample.in_items(least_items(margin=policy.margin, alpha=policy.alpha))
        verdict, reason, required = _not_worse(policy, counts, sample, low, high, p)
    else:
        verdict, reason, required = GateVerdict.PASS, f"reported only: {sample.text(counts)}", None
    n = max(counts.n, 1)
    return AxisVerdict(
        name=policy.name,
        role=policy.role,
        verdict=verdict,
        reason=reason,
        n=counts.n,
        baseline_arm=arm,
        baseline=(counts.both + counts.losses) / n,
        challenger=(counts.both + counts.wins) / n,
        wins=counts.wins,
        losses=counts.losses,
        test=AxisTest(
            alpha=policy.alpha,
            margin=policy.margin,
            standard_margin=policy.standard_margin,
            divided_by=policy.divided_by,
            margin_reason=policy.reason,
            p=p,
            p_is=p_is,
            low=low,
            high=high,
        ),
        required=RequiredItems(at_these_shares=required, smallest=smallest, least_wins=least_wins),
        clusters=sample.clusters,
        others=others,
    )


def _enough_items(policy: AxisPolicy, counts: PairedCounts, seen: EffectiveCounts, *, least: int) -> int:
    """From how many items on the interval would pass at these shares: effective counts are rounded against the challenger."""
    items = least
    while items < MOST_TIMES * least:
        won, lost = counts.wins * items // counts.n, -(-counts.losses * items // counts.n)
        found = effective(n=items, wins=won, losses=lost, design_effect=seen.design_effect)
        low, _ = difference_bounds(n=found.n, wins=found.wins, losses=found.losses, alpha=policy.alpha)
        if low > -policy.margin:
            break
        items += max(1, items // 200)
    return items


def _better(policy: AxisPolicy, counts: PairedCounts, sample: _Sample) -> tuple[GateVerdict, str, int | None]:
    p, clusters = sample.p_equal, sample.clusters
    by = " by entity" if clusters is not None else ""
    over = f", divided over {policy.divided_by} attempts" if policy.divided_by > 1 else ""
    detail = f"{sample.text(counts)}, p = {p:.2g}{by} (one-sided {policy.alpha:.3g}{over})"
    if counts.n and p <= policy.alpha:
        return GateVerdict.PASS, f"better: {detail}", None
    needed_wins = wins_needed(alpha=policy.alpha)
    to_win = counts.wins + counts.neither
    if counts.n == 0:
        return GateVerdict.CANNOT_TELL, f"cannot tell: there are no items; needs at least {needed_wins}", needed_wins
    if clusters is not None and clusters.entities < needed_wins:
        required = math.ceil(needed_wins * counts.n / clusters.entities)
        reason = f"cannot tell: {clusters.entities} entities cannot show it, however many items each has; needs about {required} items"
        return GateVerdict.CANNOT_TELL, reason, required
    if counts.losses == 0 and to_win < needed_wins:
        if to_win == 0:
            return GateVerdict.REFUSE, "not better: the baseline is correct on every item, which leaves nothing to win", None
        required = math.ceil(needed_wins * counts.n / to_win)
        return GateVerdict.CANNOT_TELL, f"cannot tell: only {to_win} items could be won; needs {required} items", required
    return GateVerdict.REFUSE, f"not shown to be better: {detail}", None


def _not_worse(
    policy: AxisPolicy, counts: PairedCounts, sample: _Sample, low: float, high: float, p: float
) -> tuple[GateVerdict, str, int | None]:
    detail = f"{sample.text(counts)}, difference between {low:+.3f} and {high:+.3f}, p = {p:.2g}"
    n, wins, losses = sample.n, sample.wins, sample.losses
    if shown_not_worse(n=n, wins=wins, losses=losses, margin=policy.margin, alpha=policy.alpha):
        return GateVerdict.PASS, f"not worse by {policy.margin:g} or more: {detail}", None
    if n and high < 0:
        return GateVerdict.REFUSE, f"worse: {detail} (margin {policy.margin:g})", None
    least = least_items(margin=policy.margin, alpha=policy.alpha)
    if n >= least and wins - losses <= -policy.margin * n:
        return GateVerdict.REFUSE, f"worse by more than the margin {policy.margin:g}: {detail}", None
    # From the items as they were seen: effective counts are rounded, and a rounded loss can be a margin's width.
    seen_rate = needed_at_this_rate(n=counts.n, wins=counts.wins, losses=counts.losses, margin=policy.margin, alpha=policy.alpha)
    at_this_rate = seen_rate or least
    required = sample.in_items(max(at_this_rate, n + 1, least if wins <= losses else 0))
    if seen_rate is not None and sample.effective is not None:
        required = _enough_items(policy, counts, sample.effective, least=required)
    return GateVerdict.CANNOT_TELL, f"cannot tell: could be worse by {policy.margin:g}: {detail}; needs {required} items", required
