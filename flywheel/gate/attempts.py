"""How often was this already tried? Who tries often enough passes by luck: the error is divided over the attempts.

In: how many challengers met this champion, how often this one met this golden version. Out: by how much alpha is divided.
Counting them in the record is not done here.
"""

from dataclasses import asdict, dataclass

from flywheel.plausible import check_wholes


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Both count the present one. Gates that ended before their superiority axis was asked are no attempts."""

    challengers: int = 1  # against this champion
    gates: int = 1  # of this challenger on this golden version
    planned_challengers: int = 1  # known beforehand: the first of four is then judged as strictly as the fourth

    def __post_init__(self) -> None:
        check_wholes(where="gate.attempts", least=1, **asdict(self))

    def divisor(self) -> int:
        """Bonferroni: alpha over this many. Source: Dunn (1961), JASA 56:52-64.

        With ``planned_challengers`` at the true number, the chance that any of that many equal challengers passes is at most alpha.
        Counted as they come, the k-th is judged at alpha / k, and of K equal ones any passes in at most alpha * (1 + 1/2 + ... + 1/K).
        """
        return max(self.challengers, self.planned_challengers) * self.gates
