"""Does the challenger pass on this axis?

In: the axis' policy, right or wrong per item of challenger and baselines. Out: one AxisVerdict with its reason.
Which items belong to an axis, and asking the arms, is not done here.
"""

import math
from collections.abc import Mapping, Sequence

from flywheel.errors import InvalidInput
from flywheel.gate.axes import AxisPolicy, AxisVerdict, GateVerdict, PairedCounts, Role
from flywheel.gate.paired import difference_bounds, needed_at_this_rate, needed_without_loss, p_better, pair, wins_needed


def judge(*, policy: AxisPolicy, baselines: Mapping[str, Sequence[bool]], challenger: Sequence[bool]) -> AxisVerdict:
    """Against the best of ``baselines`` (the first named wins a tie): a challenger that beats only the weakest proves nothing."""
    if not baselines:
        raise InvalidInput("there is no baseline", where=f"gate.{policy.name}", remedy="Ask at least the base model.")
    arm = max(baselines, key=lambda name: sum(baselines[name]))
    counts = pair(baseline=baselines[arm], challenger=challenger)
    low, high = difference_bounds(n=counts.n, wins=counts.wins, losses=counts.losses, alpha=policy.alpha)
    p = p_better(wins=counts.wins, losses=counts.losses) if policy.role is Role.SUPERIORITY else None
    if policy.role is Role.SUPERIORITY:
        verdict, reason, needs = _better(policy, counts, p if p is not None else 1.0)
    elif policy.role is Role.NON_INFERIORITY:
        verdict, reason, needs = _not_worse(policy, counts, low, high)
    else:
        verdict, reason, needs = GateVerdict.PASS, f"reported only: {counts.wins} wins, {counts.losses} losses on {counts.n} items", None
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
    )


def _better(policy: AxisPolicy, counts: PairedCounts, p: float) -> tuple[GateVerdict, str, int | None]:
    seen = f"{counts.wins} wins, {counts.losses} losses on {counts.n} items, p = {p:.2g}"
    if counts.n and p <= policy.alpha:
        return GateVerdict.PASS, f"better: {seen} (one-sided {policy.alpha:g})", None
    needed_wins = wins_needed(alpha=policy.alpha)
    to_win = counts.wins + counts.neither
    if counts.n == 0:
        return GateVerdict.CANNOT_TELL, f"cannot tell: there are no items; needs at least {needed_wins}", needed_wins
    if counts.losses == 0 and to_win < needed_wins:
        if to_win == 0:
            return GateVerdict.REFUSE, "not better: the baseline is right on every item, which leaves nothing to win", None
        needs = math.ceil(needed_wins * counts.n / to_win)
        return GateVerdict.CANNOT_TELL, f"cannot tell: only {to_win} items could be won; needs {needs} items", needs
    return GateVerdict.REFUSE, f"not shown to be better: {seen} (one-sided {policy.alpha:g})", None


def _not_worse(policy: AxisPolicy, counts: PairedCounts, low: float, high: float) -> tuple[GateVerdict, str, int | None]:
    seen = f"{counts.wins} wins, {counts.losses} losses on {counts.n} items, difference between {low:+.3f} and {high:+.3f}"
    if counts.n and low > -policy.margin:
        return GateVerdict.PASS, f"not worse by {policy.margin:g} or more: {seen}", None
    if counts.n and high < 0:
        return GateVerdict.REFUSE, f"worse: {seen} (margin {policy.margin:g})", None
    least = needed_without_loss(margin=policy.margin, alpha=policy.alpha)
    if counts.n >= least and counts.wins - counts.losses <= -policy.margin * counts.n:
        return GateVerdict.REFUSE, f"worse by more than the margin {policy.margin:g}: {seen}", None
    needs = needed_at_this_rate(n=counts.n, wins=counts.wins, losses=counts.losses, margin=policy.margin, alpha=policy.alpha) or least
    return GateVerdict.CANNOT_TELL, f"cannot tell: could be worse by {policy.margin:g}: {seen}; needs {needs} items", needs
