"""How often was this already tried? Who tries often enough passes by luck, so the error is divided over the attempts.

In: the earlier gates of a workload. Out: how many challengers met this champion, how often this one met this golden version, and by how
much alpha is divided.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from flywheel.gate.axes import GateDecision, Role
from flywheel.ids import AdapterName


class PastGate(Protocol):
    """A gate that was decided."""

    @property
    def adapter(self) -> AdapterName: ...
    @property
    def champion(self) -> AdapterName: ...
    @property
    def golden_version(self) -> int: ...
    @property
    def decision(self) -> GateDecision: ...


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Both counts include the present one. Gates that ended before their superiority axis was judged are no attempts."""

    challengers: int = 1  # against this champion
    gates: int = 1  # of this challenger on this golden version
    planned_challengers: int = 1  # known beforehand: the first of four is then judged as strictly as the fourth

    def divisor(self) -> int:
        """Bonferroni: alpha over this many. Source: Dunn (1961), JASA 56:52-64.

        With ``planned_challengers`` at the true number, the probability that any of that many equal challengers passes is at most alpha.
        Counted as they come, the k-th is judged at alpha / k, and of K equal ones any passes in at most alpha * (1 + 1/2 + ... + 1/K).
        """
        return max(self.challengers, self.planned_challengers) * self.gates


def count_attempts(
    past: Iterable[PastGate], *, adapter: AdapterName, champion: AdapterName, golden_version: int, planned_challengers: int
) -> Attempts:
    """Of this adapter against this champion, the present gate included."""
    tried = [gate for gate in past if any(axis.role is Role.SUPERIORITY and axis.n for axis in gate.decision.axes)]
    challengers = {gate.adapter for gate in tried if gate.champion == champion} | {adapter}
    again = [gate for gate in tried if (gate.adapter, gate.champion, gate.golden_version) == (adapter, champion, golden_version)]
    return Attempts(challengers=len(challengers), gates=len(again) + 1, planned_challengers=planned_challengers)
