"""May the challenger leave the shadow?

In: how its mirrored requests ended. Out: a ShadowVerdict. A shadow shows that the adapter answers at all under real traffic.
Whether its answers are good is judged by the gate and the canary.
"""

from dataclasses import dataclass
from enum import StrEnum

FAILING_SHARE = 0.1
"""Above this share of failed mirrored requests the server has a fault with the adapter; a loaded server fails fewer."""
ENOUGH_TO_FAIL = 10
"""With fewer mirrored requests the share of failures is not judged."""


class ShadowStatus(StrEnum):
    """Without mirrored requests the shadow waits; it never goes on."""

    WAITS = "waits"
    HOLDS = "holds"
    FAILS = "fails"


@dataclass(frozen=True, kw_only=True)
class ShadowCounts:
    """Mirrored requests since the shadow began: answered, and model errors."""

    answered: int = 0
    failed: int = 0


@dataclass(frozen=True, kw_only=True)
class ShadowVerdict:
    """With the counts that it rests on."""

    status: ShadowStatus
    answered: int
    failed: int
    wanted: int
    reason: str


def judge_shadow(*, counts: ShadowCounts | None, wanted: int) -> ShadowVerdict:
    """``wanted`` mirrored requests must be answered; no more than a tenth may fail."""
    answered, failed = (counts.answered, counts.failed) if counts else (0, 0)
    if answered + failed >= ENOUGH_TO_FAIL and failed > FAILING_SHARE * (answered + failed):
        status, reason = ShadowStatus.FAILS, f"{failed} of {answered + failed} mirrored requests failed"
    elif answered < wanted:
        status, reason = ShadowStatus.WAITS, f"{answered} of {wanted} mirrored requests answered"
    else:
        status, reason = ShadowStatus.HOLDS, f"{answered} mirrored requests answered, {failed} failed"
    return ShadowVerdict(status=status, answered=answered, failed=failed, wanted=wanted, reason=reason)
