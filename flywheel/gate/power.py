"""The predicted power of a gate: before it is run, can it pass at all, and how likely is that?

In: the axes, how many items (and entities) each has, what is assumed of the challenger. Out: per axis the fewest items with which it
could pass, and the probability that it does; and the probability of the whole gate. No arm is asked.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

from flywheel.gate.axes import AxisPolicy, Role
from flywheel.gate.axis_order import FORMAT, GENERAL, SAFETY
from flywheel.gate.entities import design_effect
from flywheel.gate.exact_not_worse import LEAST_MARGIN, least_items, shown_not_worse
from flywheel.gate.paired_tests import normal_quantile, p_better, wins_needed

FOUR_IN_FIVE = 0.8
_LOOKS = 12
_MOST_ITEMS = 2_000
"""Beyond it the approximation is good and the exact sum slow."""
_MOST_SUMMED = 5_000


@dataclass(frozen=True, kw_only=True)
class Discordance:
    """Shares of items: lost (only the baseline is correct) and won (only the challenger is)."""

    losses: float
    wins: float


TEN_POINTS_BETTER = Discordance(losses=0.03, wins=0.13)


@dataclass(frozen=True, kw_only=True)
class AssumedChallenger:
    """The challenger whose chances are predicted: it gains ten points on the task and forgets nothing."""

    on_task: Discordance = TEN_POINTS_BETTER
    elsewhere: Mapping[str, Discordance] = field(
        default_factory=lambda: {
            FORMAT: Discordance(losses=0.01, wins=0.01),
            SAFETY: Discordance(losses=0.01, wins=0.01),
            GENERAL: Discordance(losses=0.03, wins=0.03),
        }
    )
    icc: float = 0.3  # intraclass correlation of one entity's items; it is measured only when the answers are there

    def of(self, axis: str) -> Discordance:
        """Axes that are not named are the task's own."""
        return self.elsewhere.get(axis, self.on_task)


@dataclass(frozen=True, kw_only=True)
class AxisPower:
    """The predicted power of one axis, and the numbers of items behind it."""

    name: str
    n: int
    independent_n: int  # the effective sample size
    smallest_n: int | None  # "not worse": the fewest items on which an equal challenger passes
    least_wins: int | None  # "better": the fewest wins that are enough without a loss
    likely_n: int | None  # the required sample size: with so many items about four in five such challengers pass
    chance: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class GatePower:
    """``chance``: the product over deciding axes. A low estimate: who is better on one axis is likelier to be on the next."""

    chance: float
    reason: str
    axes: tuple[AxisPower, ...]


def predict(*, axes: Sequence[AxisPolicy], entities: Mapping[str, Sequence[str]], assumed: AssumedChallenger | None = None) -> GatePower:
    """``entities[axis]``: the entity of each of its items. Axes without items do not count."""
    given = assumed or AssumedChallenger()
    found = tuple(
        _axis(policy, entities[policy.name], given) for policy in axes if policy.role is not Role.REPORTED and entities.get(policy.name)
    )
    if not found:
        return GatePower(chance=0.0, reason="there are no items to be asked", axes=())
    chance = math.prod(axis.chance for axis in found)
    weakest = min(found, key=lambda axis: axis.chance)
    task = given.on_task
    who = f"a challenger that loses {task.losses:.0%} and wins {task.wins:.0%} of the task's items"
    reason = f"{who} passes in about {chance:.0%}; the weakest axis is {weakest.name}: {weakest.reason}"
    return GatePower(chance=chance, reason=reason, axes=found)


def chance_to_pass(*, policy: AxisPolicy, n: int, discordance: Discordance) -> float:
    """Exact, on ``n`` independent items: the sum over all losses of P(losses) times P(enough wins | losses).

    Of more than ``_MOST_SUMMED`` items it is the normal approximation.
    """
    from scipy.special import bdtrc  # P(X > k); here, since importing it takes a third of a second

    lost, won = discordance.losses, discordance.wins
    if n > _MOST_SUMMED:
        return _normal_approximation(policy, n, discordance)
    total, enough = 0.0, 0
    for losses in range(n + 1):
        here = _binomial(n, losses, lost)
        if here < 1e-12 and losses > n * lost:
            break
        while enough + losses <= n and not _passes(policy, n, enough, losses):
            enough += 1  # more losses never need fewer wins, so the walk goes one way
        if enough + losses > n:
            break
        total += here * (float(bdtrc(enough - 1, n - losses, min(won / (1 - lost), 1.0))) if enough else 1.0)
    return min(total, 1.0)


def _axis(policy: AxisPolicy, entities: Sequence[str], assumed: AssumedChallenger) -> AxisPower:
    effect = design_effect(entities=entities, icc=assumed.icc)
    n, independent = len(entities), math.floor(len(entities) / effect + 1e-9)
    smallest = least_wins = None
    if policy.role is Role.NON_INFERIORITY:
        least = least_items(margin=policy.margin, alpha=policy.alpha)
        smallest = math.ceil(least * effect - 1e-9)
        needed = f"an equal challenger needs {smallest}"
    else:  # one win of each of so many entities is enough, whatever the correlation of an entity's items is
        least = least_wins = wins_needed(alpha=policy.alpha)
        needed = f"it needs {least_wins} wins at least"
    discordance = assumed.of(policy.name)
    chance = chance_to_pass(policy=policy, n=independent, discordance=discordance)
    likely = _likely_n(policy, discordance, least)
    return AxisPower(
        name=policy.name,
        n=n,
        independent_n=independent,
        smallest_n=smallest,
        least_wins=least_wins,
        likely_n=None if likely is None else math.ceil(likely * effect - 1e-9),
        chance=chance,
        reason=f"{n} items, {chance:.0%}; {needed}",
    )


def _likely_n(policy: AxisPolicy, discordance: Discordance, least: int) -> int | None:
    """Searched from the normal approximation ((z_alpha + z_power) * sigma / distance)^2 upwards. None where no number is enough."""
    distance, variance = _distance(policy, discordance)
    if distance < LEAST_MARGIN:
        return None
    reach = normal_quantile(policy.alpha) + NormalDist().inv_cdf(FOUR_IN_FIVE)
    n = max(least, math.floor(0.9 * reach * reach * variance / (distance * distance)))
    for _ in range(_LOOKS):
        if n > _MOST_ITEMS or chance_to_pass(policy=policy, n=n, discordance=discordance) >= FOUR_IN_FIVE:
            return n
        n = math.ceil(n * 1.05)
    return n


def _normal_approximation(policy: AxisPolicy, n: int, discordance: Discordance) -> float:
    distance, variance = _distance(policy, discordance)
    if variance < LEAST_MARGIN:  # every gate gives the same counts
        return float(distance > 0)
    return NormalDist().cdf(distance * math.sqrt(n / variance) - normal_quantile(policy.alpha))


def _distance(policy: AxisPolicy, discordance: Discordance) -> tuple[float, float]:
    """The distance from the hypothesis to the assumed difference, and the variance of one item."""
    gain = discordance.wins - discordance.losses
    margin = policy.margin if policy.role is Role.NON_INFERIORITY else 0.0
    return gain + margin, max(discordance.wins + discordance.losses - gain * gain, 0.0)


def _passes(policy: AxisPolicy, n: int, wins: int, losses: int) -> bool:
    if policy.role is Role.SUPERIORITY:
        return p_better(wins=wins, losses=losses) <= policy.alpha
    return shown_not_worse(n=n, wins=wins, losses=losses, margin=policy.margin, alpha=policy.alpha)


def _binomial(n: int, k: int, p: float) -> float:
    if p in (0.0, 1.0):
        return float(k == n * p)
    log_ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log_ways + k * math.log(p) + (n - k) * math.log1p(-p))
