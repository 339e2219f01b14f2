"""What state should the alert be in now?

In: what the newest window says, the alert as it stands, the policy, the time. Out: one transition with its reason, or none.
Called until there is none, so that an alert without a hold passes through pending at once. The letters are those of the
diagram in ``alert``. Acknowledging is not done here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from flywheel.alerts.alert import Alert, AlertState, WindowsSeen, fingerprint_of
from flywheel.alerts.window_finding import SHOWN, WindowFinding
from flywheel.clock import has_passed, lies_ahead
from flywheel.drift.incident import IncidentState
from flywheel.ids import AlertId, derive

REMEMBERED = 50  # late-data findings that were taken in


@dataclass(frozen=True, kw_only=True)
class AlertPolicy:
    """How long drift must hold before anybody is told, and how long it must stay away before the alert is over."""

    hold: timedelta = timedelta(0)
    resolve_after: timedelta = timedelta(hours=6)
    acknowledgement: timedelta = timedelta(hours=8)  # how long one lasts unless the person says it


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
class AlertTransition:
    """``alert`` is the alert after the move; None while there is none."""

    alert: Alert | None
    move: Move
    reason: str


def advance(*, alert: Alert | None, finding: WindowFinding | None, policy: AlertPolicy, now: datetime) -> AlertTransition:
    """``alert``: the newest of the workload, if any. ``finding``: of the newest window, if any was judged."""
    if alert is None or alert.state is AlertState.RESOLVED:
        return _open(alert, finding, now)
    news = finding if finding is not None and _is_news(finding, alert, now) else None
    if news is not None and news.standing is IncidentState.DRIFTED:
        return _seen_again(alert, news, now)
    taken = alert.acknowledgement if alert.state is AlertState.ACKNOWLEDGED else None
    if taken is not None and has_passed(taken.until - taken.at, since=taken.at, now=now):
        reason = "the acknowledgement expired" if now >= taken.until else "it was acknowledged in the future, by a clock that ran ahead"
        return _fire_again(alert, reason, now)
    cleared = news is not None and news.standing is IncidentState.NOT_DRIFTED and not news.late  # late rows never resolve an alert
    if alert.state is AlertState.PENDING:
        if cleared:
            gone = replace(alert, state=AlertState.RESOLVED, resolved_at=now)
            return AlertTransition(alert=gone, move=Move.DROPPED, reason="nothing drifts any more, before anybody was notified")
        if has_passed(policy.hold, since=alert.started_at, now=now):
            fired = replace(alert, state=AlertState.FIRING, fired_at=now)
            return AlertTransition(alert=fired, move=Move.FIRED, reason="the drift has held for long enough")
        return AlertTransition(alert=alert, move=Move.NONE, reason="the drift has not held for long enough yet")
    if cleared and has_passed(policy.resolve_after, since=alert.last_seen_at, now=now):
        over = replace(alert, state=AlertState.RESOLVED, resolved_at=now)
        return AlertTransition(alert=over, move=Move.RESOLVED, reason=f"nothing has drifted for {policy.resolve_after}")
    return AlertTransition(alert=alert, move=Move.NONE, reason="still open: drifting, not cleared for long enough, or without data")


def _open(last: Alert | None, finding: WindowFinding | None, now: datetime) -> AlertTransition:
    if finding is None or finding.standing is not IncidentState.DRIFTED:
        return AlertTransition(alert=last, move=Move.NONE, reason="nothing drifts")
    if last is not None and not _is_news(finding, last, now):
        return AlertTransition(alert=last, move=Move.NONE, reason="this window belongs to the alert that was resolved")
    late = [finding.late] if finding.late else []  # the same window may have opened an alert when it closed
    opened = Alert(
        id=AlertId(derive("alert", fingerprint_of(finding.workload), finding.window, *late)),
        workload=finding.workload,
        severity=finding.severity,
        state=AlertState.PENDING,
        message=finding.message,
        started_at=now,
        last_seen_at=now,
        seen=WindowsSeen(
            first=finding.window,
            newest=finding.window,
            until=_seen_until(last.seen, finding, now) if last is not None else finding.at,
            late=_late_with(finding, last.seen.late if last is not None else ()),
            drifted=frozenset(finding.drifted),
            drifted_count=finding.drifted_count,
        ),
        evidence=finding.evidence,
    )
    return AlertTransition(alert=opened, move=Move.OPENED, reason=finding.message.summary)


def _seen_again(alert: Alert, finding: WindowFinding, now: datetime) -> AlertTransition:
    """The newest window is told; a late-data finding only where it is worse. The first window stays named."""
    worse = finding.severity > alert.severity
    seen = replace(
        alert,
        severity=max(alert.severity, finding.severity),
        message=finding.message if worse or not finding.late else alert.message,
        # a clock that was set back a little must not end it early, one that ran ahead must not keep it open
        last_seen_at=now if lies_ahead(alert.last_seen_at, now=now) else max(now, alert.last_seen_at),
        seen=_joined(alert.seen, finding) if finding.late else _replaced(alert.seen, finding, now),
        evidence=_joined_evidence(alert.evidence, finding) if finding.late else finding.evidence,
    )
    if worse and alert.state is AlertState.ACKNOWLEDGED:
        return _fire_again(seen, "severity rose", now)
    return AlertTransition(alert=seen, move=Move.SEEN_AGAIN, reason=finding.message.summary)


def _fire_again(alert: Alert, reason: str, now: datetime) -> AlertTransition:
    firing = replace(alert, state=AlertState.FIRING, acknowledgement=None, fired_again_at=now)
    return AlertTransition(alert=firing, move=Move.FIRED_AGAIN, reason=reason)


def _is_news(finding: WindowFinding, alert: Alert, now: datetime) -> bool:
    """A late-data finding is of a window that was read long ago: each is taken in once, whatever was read since.

    After windows of the future, which a clock that ran ahead closed, each window that closes now is news.
    """
    if finding.late:
        return _late_name(finding) not in alert.seen.late
    is_later = finding.at > alert.seen.until or (finding.just_closed and lies_ahead(alert.seen.until, now=now))
    return finding.window != alert.seen.newest and is_later


def _seen_until(seen: WindowsSeen, finding: WindowFinding, now: datetime) -> datetime:
    return finding.at if lies_ahead(seen.until, now=now) else max(finding.at, seen.until)


def _late_name(finding: WindowFinding) -> str:
    """Each re-evaluation of a window may find more."""
    return finding.window if finding.late <= 1 else f"{finding.window} ({finding.late})"


def _late_with(finding: WindowFinding, taken: tuple[str, ...]) -> tuple[str, ...]:
    return (*taken, _late_name(finding))[-REMEMBERED:] if finding.late else taken


def _replaced(seen: WindowsSeen, finding: WindowFinding, now: datetime) -> WindowsSeen:
    return replace(
        seen,
        newest=finding.window,
        until=_seen_until(seen, finding, now),
        drifted=frozenset(finding.drifted),
        drifted_count=finding.drifted_count,
    )


def _joined(seen: WindowsSeen, finding: WindowFinding) -> WindowsSeen:
    """What drifts now still must clear before the alert is over: late series are added to it and never take its place."""
    more = [series for series in finding.drifted if series not in seen.drifted]
    room = max(0, 2 * SHOWN - len(seen.drifted))
    return replace(
        seen,
        until=max(finding.at, seen.until),
        late=_late_with(finding, seen.late),
        drifted=seen.drifted | frozenset(more[:room]),
        drifted_count=seen.drifted_count + len(more),
    )


def _joined_evidence(evidence: Mapping[str, object], finding: WindowFinding) -> dict[str, object]:
    """The late series behind those that drift now."""
    own, late = (_series_in(held) for held in (evidence, finding.evidence))
    known = {(one.get("slice"), one.get("column")) for one in own}
    more = [one for one in late if (one.get("slice"), one.get("column")) not in known]
    return {**evidence, "drifted_series": [*own, *more][: 2 * SHOWN]}


def _series_in(evidence: Mapping[str, object]) -> list[Mapping[str, object]]:
    held = evidence.get("drifted_series")
    return [one for one in held if isinstance(one, Mapping)] if isinstance(held, list | tuple) else []
