"""What a closed window says to an alert.

In: the verdicts of one window, and what moved in the alert that is open. Out: moved, still moving, quiet, or unknown, with a
sentence for a phone. Many slices and columns that moved together are one incident (``drift.incident``). Whether anybody is told
is decided in ``lifecycle``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from flywheel.alerts.alert import Severity
from flywheel.drift.incident import Incident, Place, Standing, has_moved, incident_of
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.errors import InvalidInput
from flywheel.ids import EVERYTHING, WorkloadId
from flywheel.plausible import check_moments, check_text, check_whole
from flywheel.traffic.column import Family

__all__ = ["Finding", "WindowFacts", "facts_of", "has_moved", "moved_in"]

SHOWN = 20
"""How many movers an alert carries; the window holds them all."""


class Finding(StrEnum):
    """Missing data is neither moved nor quiet: it never opens an alert and never clears one. Nor does what still trembles."""

    MOVED = "moved"
    STILL = "still"
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
    late: int = 0  # how many times this older window has been judged again with what came late; 0: these are no late facts

    def __post_init__(self) -> None:
        for said, name in (("workload", self.workload), ("window", self.window)):
            check_text(name, where=f"facts of a window: {said}")
        check_moments(f"facts of window {self.window}", at=self.at)
        check_whole(self.late, where=f"facts of window {self.window}: late")


def facts_of(
    *,
    workload: WorkloadId,
    window: str,
    at: datetime,
    verdicts: Sequence[DriftVerdict],
    protected: Sequence[str],
    moved_before: Collection[Place] = (),
    late: int = 0,
    judged_again: bool = False,
) -> WindowFacts:
    """Critical: answers got worse for everybody or in a protected slice. Otherwise a warning. ``moved_before``: see ``moved_in``.

    ``late``: the verdicts are those that late rows found, the number says at which judging. ``judged_again``: a window that is read only
    now, after late rows changed its verdicts; what they withdrew does not say that anything is over, so it is not quiet.
    """
    if others := sorted({verdict.workload for verdict in verdicts} - {workload}):
        raise InvalidInput(
            "verdicts of another workload are no facts of this one",
            where=f"facts of {workload}",
            value=others,
            remedy="Hand in the verdicts of one workload.",
        )
    incident = incident_of(verdicts, moved_before=moved_before)
    movers = incident.movers
    judged = [verdict for verdict in verdicts if verdict.status in (DriftStatus.OK, DriftStatus.DRIFTING)]
    watched = {EVERYTHING, *protected}
    answers_moved = any(verdict.kind in (Family.OUTPUT, Family.QUALITY) and verdict.slice in watched for verdict in movers)
    return WindowFacts(
        workload=workload,
        window=window,
        at=at,
        finding=Finding.UNKNOWN if judged_again and incident.standing is Standing.QUIET else _FINDINGS[incident.standing],
        late=late,
        severity=Severity.CRITICAL if answers_moved else Severity.WARNING,
        summary=_summary(workload, incident),
        first_action=_first_action(movers, answers_moved),
        evidence={
            "window": window,
            "judged": len(judged),
            "moved": len(movers),
            "behind": [f"{verdict.column} of {verdict.slice}" for verdict in incident.behind[:SHOWN]],
            "grouping": incident.reason,
            "movers": [_mover(verdict) for verdict in movers[:SHOWN]],
            "reference_maturity": sorted({str(verdict.evidence.get("reference_maturity", "none")) for verdict in movers}),
        },
    )


def moved_in(evidence: Mapping[str, object]) -> frozenset[Place]:
    """The movers that an alert's evidence names: what must fall well under its limits before the alert is over.

    Only slice and column are read: the movers of older alerts hold no limits.
    """
    movers = evidence.get("movers")
    if not isinstance(movers, Sequence):
        return frozenset()
    return frozenset((str(mover.get("slice")), str(mover.get("column"))) for mover in movers if isinstance(mover, Mapping))


def _mover(verdict: DriftVerdict) -> dict[str, object]:
    """With the limits it was held against, and over which hours: an alert is read alone, without its window."""
    return {
        "kind": verdict.kind.value,
        "slice": verdict.slice,
        "column": verdict.column,
        "status": verdict.status.value,
        "method": verdict.method,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "effect": verdict.effect,
        "effect_floor": verdict.effect_floor,
        "limits": verdict.evidence.get("limits"),
        "n": verdict.n,
        "n_reference": verdict.n_reference,
        "window_start": verdict.window_start.isoformat(),
        "hours": round((verdict.window_end - verdict.window_start) / timedelta(hours=1), 4),
        "reason": verdict.reason,
    }


_FINDINGS: Mapping[Standing, Finding] = {
    Standing.MOVED: Finding.MOVED,
    Standing.STILL: Finding.STILL,
    Standing.QUIET: Finding.QUIET,
    Standing.UNKNOWN: Finding.UNKNOWN,
}


def _summary(workload: WorkloadId, incident: Incident) -> str:
    movers = incident.movers
    if not movers:
        return f"{workload}: {incident.reason}"
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
