"""What a closed window says to an alert.

In: the verdicts of one window. Out: moved, quiet, or unknown, with a sentence for a phone. Many slices and columns that
moved together are one incident. Whether anybody is told is decided in ``lifecycle``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flywheel.alerts.alert import Severity
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.ids import EVERYTHING, WorkloadId
from flywheel.traffic.column import Family

SHOWN = 20
"""How many movers an alert carries; the window holds them all."""


class Finding(StrEnum):
    """Missing data is neither moved nor quiet: it never opens an alert and never clears one."""

    MOVED = "moved"
    QUIET = "quiet"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class WindowFacts:
    """What one window contributes."""

    workload: WorkloadId
    window: str  # the closed window's id
    at: datetime  # its end
    finding: Finding
    severity: Severity
    summary: str
    first_action: str
    evidence: Mapping[str, object] = field(default_factory=dict)


def facts_of(*, workload: WorkloadId, window: str, at: datetime, verdicts: Sequence[DriftVerdict], protected: Sequence[str]) -> WindowFacts:
    """Critical: answers got worse for everybody or in a protected slice. Otherwise a warning."""
    movers = sorted((verdict for verdict in verdicts if has_moved(verdict)), key=lambda verdict: abs(verdict.effect or 0.0), reverse=True)
    judged = [verdict for verdict in verdicts if verdict.status in (DriftStatus.OK, DriftStatus.DRIFTING)]
    if movers:
        finding = Finding.MOVED
    elif any(verdict.slice == EVERYTHING for verdict in judged):
        finding = Finding.QUIET
    else:
        finding = Finding.UNKNOWN
    watched = {EVERYTHING, *protected}
    answers_moved = any(verdict.kind in (Family.OUTPUT, Family.QUALITY) and verdict.slice in watched for verdict in movers)
    return WindowFacts(
        workload=workload,
        window=window,
        at=at,
        finding=finding,
        severity=Severity.CRITICAL if answers_moved else Severity.WARNING,
        summary=_summary(workload, movers),
        first_action=_first_action(movers, answers_moved),
        evidence={
            "window": window,
            "judged": len(judged),
            "moved": len(movers),
            "movers": [
                {
                    "kind": verdict.kind.value,
                    "slice": verdict.slice,
                    "column": verdict.column,
                    "status": verdict.status.value,
                    "method": verdict.method,
                    "score": verdict.score,
                    "effect": verdict.effect,
                    "n": verdict.n,
                }
                for verdict in movers[:SHOWN]
            ],
            "reference_maturity": sorted({str(verdict.evidence.get("reference_maturity", "none")) for verdict in movers}),
        },
    )


def has_moved(verdict: DriftVerdict) -> bool:
    """Drifting; or a slice that vanished, or a new one that takes a real part of the traffic."""
    if verdict.status is DriftStatus.DRIFTING:
        return True
    if verdict.score is None or verdict.threshold is None or verdict.score >= verdict.threshold:
        return False
    if verdict.status is DriftStatus.NEW_SLICE:
        return (verdict.effect or 0.0) >= (verdict.effect_floor or 0.0)
    return verdict.status is DriftStatus.VANISHED_SLICE


def _summary(workload: WorkloadId, movers: Sequence[DriftVerdict]) -> str:
    if not movers:
        return f"{workload}: nothing moved"
    kinds = [kind for kind in Family if any(verdict.kind is kind for verdict in movers)]
    slices = sorted({verdict.slice for verdict in movers} - {EVERYTHING})
    where = "all traffic" if any(verdict.slice == EVERYTHING for verdict in movers) else ", ".join(slices[:3])
    if slices and where == "all traffic":
        where += f" and {len(slices)} slice{'s' if len(slices) > 1 else ''}"
    first = movers[0]
    early = " (the reference was pinned early)" if any(v.evidence.get("reference_maturity") == "pinned_early" for v in movers) else ""
    return (
        f"{workload}: {' and '.join(kind.value for kind in kinds)} drift in {where}; most of all {first.column} of {first.slice}, "
        f"effect {abs(first.effect or 0.0):.2f}{early}"
    )


def _first_action(movers: Sequence[DriftVerdict], answers_moved: bool) -> str:
    if answers_moved:
        return "Look whether a release was made in this time; if so roll it back, then read the answers of the slice that moved most."
    if any(verdict.kind is Family.SLICE for verdict in movers):
        return "Ask who sends the new traffic; then collect corrections for the slice that moved most."
    return "Read twenty of the new requests; if the answers are wrong, send corrections, else pin a new reference."
