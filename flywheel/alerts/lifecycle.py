"""What state should the alert be in now?

In: what the newest windows say, the alert as it stands, the policy, the time. Out: one move with its reason, or none.
Called until it makes no move, so that an alert that need not be held passes through pending in one go. The letters are
those of the diagram in ``alert``. Acknowledging is not done here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from flywheel.alerts.alert import Alert, AlertState
from flywheel.alerts.facts import SHOWN, Finding, WindowFacts, moved_in
from flywheel.errors import InvalidInput
from flywheel.ids import AlertId, WorkloadId, derive
from flywheel.plausible import check_moments, check_text

RUNBOOK = "deploy/runbooks/drift.md"
REMEMBERED = 50  # late findings that were taken in


@dataclass(frozen=True, kw_only=True)
class AlertPolicy:
    """How long facts must hold before anybody is told, and how long they must stay away before it is over."""

    hold: timedelta = timedelta(0)
    resolve_after: timedelta = timedelta(hours=6)
    acknowledgement: timedelta = timedelta(hours=8)  # how long one lasts unless the person says it

    def __post_init__(self) -> None:
        for said, length in (("hold", self.hold), ("resolve_after", self.resolve_after)):
            if not isinstance(length, timedelta) or length < timedelta():
                raise InvalidInput(
                    "must be a length of time, not below zero",
                    where=f"alert policy: {said}",
                    value=str(length),
                    remedy="Correct the `alerts` settings.",
                )


class Move(StrEnum):
    """What ``advance`` did."""

    NONE = "none"
    OPENED = "opened"
    SEEN_AGAIN = "seen_again"
    FIRED = "fired"  # a
    FIRED_AGAIN = "fired_again"  # c
    DROPPED = "dropped"  # d: resolved without ever having fired
    RESOLVED = "resolved"  # e


@dataclass(frozen=True, kw_only=True)
class Advance:
    """``alert`` is the alert after the move; None while there is none."""

    alert: Alert | None
    move: Move
    reason: str


def fingerprint_of(workload: WorkloadId) -> str:
    """One incident per workload: what moves together is told together."""
    check_text(workload, where="workload of an alert")
    return derive("drift", *(f"{key}={value}" for key, value in sorted(_labels(workload).items())))


def advance(*, alert: Alert | None, facts: WindowFacts | None, policy: AlertPolicy, now: datetime) -> Advance:
    """``alert``: the open one of this fingerprint, if any. ``facts``: of the newest window, if any was judged."""
    check_moments("alert", now=now)
    if alert is not None and facts is not None and facts.workload != alert.workload:
        raise InvalidInput(
            f"the facts are of {facts.workload}",
            where=f"alert {alert.id} of {alert.workload}",
            value=facts.window,
            remedy="Hand in the facts of the alert's own workload.",
        )
    if alert is None or alert.state is AlertState.RESOLVED:
        return _open(alert, facts, now)
    unread = facts is not None and _is_news(facts, alert)
    if unread and facts is not None and facts.finding is Finding.MOVED:
        return _seen_again(alert, facts, now)
    if alert.state is AlertState.ACKNOWLEDGED and alert.acknowledgement is not None and now >= alert.acknowledgement.until:
        return _again(alert, "the acknowledgement expired", now)
    quiet = unread and facts is not None and facts.finding is Finding.QUIET and not facts.late  # the past does not say that it is over
    if alert.state is AlertState.PENDING:
        if quiet:
            gone = replace(alert, state=AlertState.RESOLVED, resolved_at=now)
            return Advance(alert=gone, move=Move.DROPPED, reason="nothing moves any more, before it was time to tell anybody")
        if now - alert.started_at >= policy.hold:
            return Advance(
                alert=replace(alert, state=AlertState.FIRING, fired_at=now), move=Move.FIRED, reason="the facts have held for long enough"
            )
        return Advance(alert=alert, move=Move.NONE, reason="the facts have not held for long enough yet")
    if quiet and now - alert.last_seen_at >= policy.resolve_after:
        return Advance(
            alert=replace(alert, state=AlertState.RESOLVED, resolved_at=now),
            move=Move.RESOLVED,
            reason=f"nothing has moved for {policy.resolve_after}",
        )
    return Advance(alert=alert, move=Move.NONE, reason="still open: moving, or not quiet for long enough, or without data to say so")


def _open(last: Alert | None, facts: WindowFacts | None, now: datetime) -> Advance:
    if facts is None or facts.finding is not Finding.MOVED:
        return Advance(alert=last, move=Move.NONE, reason="nothing moves")
    if last is not None and not _is_news(facts, last):
        return Advance(alert=last, move=Move.NONE, reason="this window belongs to the alert that was resolved")
    labels = _labels(facts.workload)
    fingerprint = fingerprint_of(facts.workload)
    opened = Alert(
        id=AlertId(derive("alert", fingerprint, facts.window, *([facts.late] if facts.late else []))),  # its window may have opened one too
        fingerprint=fingerprint,
        workload=facts.workload,
        labels=labels,
        severity=facts.severity,
        state=AlertState.PENDING,
        summary=facts.summary,
        first_action=facts.first_action,
        runbook=RUNBOOK,
        started_at=now,
        last_seen_at=now,
        evidence={
            **facts.evidence,
            "first_window": facts.window,
            "seen_until": max(facts.at, _seen_until(last)).isoformat() if last is not None else facts.at.isoformat(),
            **_late_windows(facts, last),
        },
    )
    return Advance(alert=opened, move=Move.OPENED, reason=facts.summary)


def _seen_again(alert: Alert, facts: WindowFacts, now: datetime) -> Advance:
    """The summary follows the newest window, or late facts that are worse; the severity only rises, the first window stays named."""
    worse = facts.severity > alert.severity
    told = facts if worse or not facts.late else alert
    kept = {key: alert.evidence[key] for key in ("first_window", "fired_again_at") if key in alert.evidence}
    seen = replace(
        alert,
        severity=max(alert.severity, facts.severity),
        summary=told.summary,
        first_action=told.first_action,
        last_seen_at=max(now, alert.last_seen_at),  # a clock that was set back must not end it early
        evidence={
            **(_joined(alert.evidence, facts) if facts.late else facts.evidence),
            **kept,
            "seen_until": max(facts.at, _seen_until(alert)).isoformat(),
            **_late_windows(facts, alert),
        },
    )
    if worse and alert.state is AlertState.ACKNOWLEDGED:
        return _again(seen, "severity rose", now)
    return Advance(alert=seen, move=Move.SEEN_AGAIN, reason=facts.summary)


def _again(alert: Alert, reason: str, now: datetime) -> Advance:
    firing = replace(alert, state=AlertState.FIRING, acknowledgement=None, evidence={**alert.evidence, "fired_again_at": now.isoformat()})
    return Advance(alert=firing, move=Move.FIRED_AGAIN, reason=reason)


def _seen_until(alert: Alert) -> datetime:
    """The end of the newest window that this alert has taken in."""
    held = str(alert.evidence.get("seen_until", alert.started_at.isoformat()))
    try:
        until = datetime.fromisoformat(held)
    except ValueError as error:
        raise InvalidInput(
            "nobody can say which windows this alert has taken in", where=f"alert {alert.id}", value=held, remedy="Restore the ledger."
        ) from error
    check_moments(f"alert {alert.id}", seen_until=until)
    return until


def _is_news(facts: WindowFacts, alert: Alert) -> bool:
    """What came late speaks of a window that was read long ago: each such finding is taken in once, whatever was read since."""
    if facts.late:
        return _taken_as(facts) not in _taken_late(alert)
    return facts.window != alert.evidence.get("window") and facts.at > _seen_until(alert)


def _taken_as(facts: WindowFacts) -> str:
    """A window that is judged again once more may find more."""
    return facts.window if facts.late <= 1 else f"{facts.window} ({facts.late})"


def _joined(evidence: Mapping[str, object], facts: WindowFacts) -> dict[str, object]:
    """What moves now still must be over before the alert is, so late movers stand behind its own and never in their place."""
    own, late = ([*held] if isinstance(held := found.get("movers"), (list, tuple)) else [] for found in (evidence, facts.evidence))
    places = moved_in(evidence)
    more = [mover for mover in late if not places.issuperset(moved_in({"movers": [mover]}))]
    moved = evidence.get("moved")
    return {
        **evidence,
        "movers": [*own, *more][: 2 * SHOWN],
        "moved": (moved if isinstance(moved, int) else len(own)) + len(more),
    }


def _taken_late(alert: Alert | None) -> tuple[str, ...]:
    held = alert.evidence.get("late_windows") if alert is not None else None
    return tuple(map(str, held)) if isinstance(held, (list, tuple)) else ()


def _late_windows(facts: WindowFacts, alert: Alert | None) -> dict[str, object]:
    taken = _taken_late(alert) + ((_taken_as(facts),) if facts.late else ())
    return {"late_windows": list(taken[-REMEMBERED:])} if taken else {}


def _labels(workload: WorkloadId) -> dict[str, str]:
    return {"workload": workload, "kind": "drift"}
