"""What does a closed window say to an alert?

In: the verdicts of one window, and what drifted in the alert that is open. Out: drifted, clearing, not drifted or unknown, with a
sentence for a phone. Many slices and columns that drift together are one incident (``drift.incident``). Whether anybody is told
is not decided here but in ``lifecycle``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flywheel.alerts.alert import AlertMessage, DriftedSeries, Severity
from flywheel.drift.incident import Incident, IncidentState, incident_of
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.ids import EVERYTHING, WorkloadId
from flywheel.traffic.column import Family

SHOWN = 20
"""How many drifted series an alert carries; the window holds them all."""


@dataclass(frozen=True, kw_only=True)
class WindowVerdicts:
    """Verdicts of the windows that ended at one moment."""

    workload: WorkloadId
    window: str  # the closed window's id
    at: datetime  # its end
    verdicts: Sequence[DriftVerdict]
    late: int = 0  # the verdicts are only those that late rows found, at this re-evaluation of the window
    reevaluated: bool = False  # late data has changed the verdicts since the window was closed
    just_closed: bool = False  # since the windows were read last


@dataclass(frozen=True, kw_only=True)
class WindowFinding:
    """What one window contributes. A window without data is unknown: it neither opens an alert nor clears one."""

    workload: WorkloadId
    window: str  # the closed window's id
    at: datetime  # its end
    standing: IncidentState
    severity: Severity
    message: AlertMessage
    drifted: tuple[DriftedSeries, ...] = ()  # at most ``SHOWN``, largest effect first
    drifted_count: int = 0
    evidence: Mapping[str, object] = field(default_factory=dict)
    late: int = 0  # which late-data re-evaluation of an older window found this; 0: the window's own closing
    just_closed: bool = False  # since the windows were read last


def finding_of(window: WindowVerdicts, *, protected: Sequence[str], drifted_before: Collection[DriftedSeries] = ()) -> WindowFinding:
    """Critical: answers got worse for everybody or in a protected slice. Otherwise a warning.

    ``drifted_before``: what drifts in the open alert. A window that is read only after late rows changed its verdicts is never NOT_DRIFTED:
    drift that late rows withdrew does not resolve an alert.
    """
    workload, verdicts = window.workload, window.verdicts
    incident = incident_of(verdicts, drifted_before=drifted_before)
    drifted = incident.drifted
    watched = {EVERYTHING, *protected}
    answers_drifted = any(verdict.kind in (Family.OUTPUT, Family.QUALITY) and verdict.slice in watched for verdict in drifted)
    return WindowFinding(
        workload=workload,
        window=window.window,
        at=window.at,
        standing=IncidentState.UNKNOWN if window.reevaluated and incident.state is IncidentState.NOT_DRIFTED else incident.state,
        severity=Severity.CRITICAL if answers_drifted else Severity.WARNING,
        message=AlertMessage(summary=_summary(workload, incident), first_action=_first_action(drifted, answers_drifted)),
        drifted=tuple(DriftedSeries(verdict.slice, verdict.column) for verdict in drifted[:SHOWN]),
        drifted_count=len(drifted),
        evidence={
            "judged": sum(verdict.status in (DriftStatus.OK, DriftStatus.DRIFTING) for verdict in verdicts),
            "primary_drivers": [f"{verdict.column} of {verdict.slice}" for verdict in incident.primary[:SHOWN]],
            "grouping": incident.reason,
            "drifted_series": [_series_evidence(verdict) for verdict in drifted[:SHOWN]],
            "reference_maturity": sorted({str(verdict.evidence.get("reference_maturity", "none")) for verdict in drifted}),
        },
        late=window.late,
        just_closed=window.just_closed,
    )


def _series_evidence(verdict: DriftVerdict) -> dict[str, object]:
    """With its thresholds and its hours: an alert is read alone, without its window."""
    return {
        "kind": verdict.kind.value,
        "slice": verdict.slice,
        "column": verdict.column,
        "status": verdict.status.value,
        "method": verdict.method,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "effect": verdict.effect,
        "minimum_effect": verdict.minimum_effect,
        "threshold_source": verdict.evidence.get("threshold_source", verdict.evidence.get("limits")),  # 966c45d wrote the latter
        "n": verdict.n,
        "n_reference": verdict.n_reference,
        "window_start": verdict.window_start.isoformat(),
        "hours": round((verdict.window_end - verdict.window_start) / timedelta(hours=1), 4),
        "reason": verdict.reason,
    }


def _summary(workload: WorkloadId, incident: Incident) -> str:
    drifted = incident.drifted
    if not drifted:
        return f"{workload}: {incident.reason}"
    kinds = [kind for kind in Family if any(verdict.kind is kind for verdict in drifted)]
    slices = sorted({verdict.slice for verdict in drifted} - {EVERYTHING})
    where = "all traffic" if any(verdict.slice == EVERYTHING for verdict in drifted) else ", ".join(slices[:3])
    if slices and where == "all traffic":
        where += f" and {len(slices)} slice{'s' if len(slices) > 1 else ''}"
    first = drifted[0]
    early = " (the reference was pinned early)" if any(v.evidence.get("reference_maturity") == "pinned_early" for v in drifted) else ""
    return (
        f"{workload}: {' and '.join(kind.value for kind in kinds)} drift in {where}; most of all {first.column} of {first.slice}, "
        f"effect {abs(first.effect or 0.0):.2f}{early}"
    )


def _first_action(drifted: Sequence[DriftVerdict], answers_drifted: bool) -> str:
    if answers_drifted:
        return "Was a release made in this time? Then roll it back. After that read the answers of the slice with the largest effect."
    if any(verdict.kind is Family.SLICE for verdict in drifted):
        return "Ask who sends the new traffic; then collect corrections for the slice with the largest effect."
    return "Read twenty of the new requests; if the answers are incorrect, send corrections, else pin a new reference."
