"""May the challenger leave the shadow?

In: how its mirrored requests ended. Out: a ShadowVerdict. A shadow shows that the adapter answers at all under real traffic;
whether its answers are good is for gate and canary: nobody has judged them here.
"""

from dataclasses import dataclass
from enum import StrEnum

from flywheel.plausible import check_whole, check_wholes

FAILING_SHARE = 0.1
"""Above this share of failed mirrored requests the server has a fault with the adapter; a loaded server fails fewer."""
ENOUGH_TO_FAIL = 10
"""Mirrored requests before the share of failures means anything."""


class ShadowStatus(StrEnum):
    """No mirrored request is a reason to wait, never a reason to go on."""

    WAITS = "waits"
    HOLDS = "holds"
    FAILS = "fails"


@dataclass(frozen=True, kw_only=True)
class ShadowCounts:
    """Mirrored requests since the shadow began: answered 2xx, and not."""

    answered: int = 0
    failed: int = 0

    def __post_init__(self) -> None:
        check_wholes(where="shadow", answered=self.answered, failed=self.failed)


@dataclass(frozen=True, kw_only=True)
class ShadowVerdict:
    """The counts it was reached on stand beside it."""

    status: ShadowStatus
    answered: int
    failed: int
    wanted: int
    reason: str


def judge_shadow(*, counts: ShadowCounts | None, wanted: int) -> ShadowVerdict:
    """``wanted`` mirrored requests must be answered; no more than a tenth may fail."""
    check_whole(wanted, where="shadow.wanted", least=1)
    answered, failed = (counts.answered, counts.failed) if counts else (0, 0)
    if answered + failed >= ENOUGH_TO_FAIL and failed > FAILING_SHARE * (answered + failed):
        status, reason = ShadowStatus.FAILS, f"{failed} of {answered + failed} mirrored requests failed"
    elif answered < wanted:
        status, reason = ShadowStatus.WAITS, f"{answered} of {wanted} mirrored requests answered"
    else:
        status, reason = ShadowStatus.HOLDS, f"{answered} mirrored requests answered, {failed} failed"
    return ShadowVerdict(status=status, answered=answered, failed=failed, wanted=wanted, reason=reason)
