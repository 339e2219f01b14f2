"""May a named person let this release on?

In: the release, the decision of its newest gate, who asks and why. Out: the release, approved; or Refused with what stands
against it. Whether the person's token covers it, and the move to shadow, are not done here.

An override goes past a gate and past nothing else: an adapter that is not served as trained cannot be approved at all.
"""

from dataclasses import replace
from datetime import datetime

from flywheel.errors import InvalidInput, Refused
from flywheel.gate.axes import GateDecision, GateVerdict
from flywheel.ids import Person
from flywheel.plausible import check_moment, check_text
from flywheel.rollout.release import Release, ReleaseState


def approve(*, release: Release, gate: GateDecision | None, override: bool, by: Person, reason: str, now: datetime) -> Release:
    """Approving twice changes nothing. An override is journalled with the person's reason, so it must have one."""
    check_moment(now, where="now")
    check_text(reason, where="approval.reason", empty=True)
    if override and not reason.strip():
        raise InvalidInput("an override needs a reason", where="reason", remedy="Say why with --reason; it stands in the journal.")
    if release.state is ReleaseState.GATED:
        return (
            release if release.approved_by else replace(release, approved_by=by, since=now, reason=_said("approved", by, reason), actor=by)
        )
    if release.state is ReleaseState.REFUSED and release.gate:
        if not override:
            raise Refused(
                f"the gate stands against it: {gate.reason if gate else release.reason}",
                where=release.adapter,
                remedy="Correct the training, or let it past by name: flywheel release approve --override-gate --reason '...'.",
            )
        verdict = gate.verdict if gate else GateVerdict.REFUSE
        return replace(
            release,
            state=ReleaseState.GATED,
            since=now,
            reason=_said(f"gate overridden ({verdict.value})", by, reason),
            actor=by,
            overridden_by=by,
            approved_by=by,
        )
    raise Refused(_against(release), where=release.adapter, value=release.state.value, remedy=_instead(release))


def _said(what: str, by: Person, reason: str) -> str:
    return f"{what} by {by}: {reason.strip()}" if reason.strip() else f"{what} by {by}"


def _against(release: Release) -> str:
    match release.state:
        case ReleaseState.REGISTERED | ReleaseState.PROBED:
            return "its gate has not been decided yet"
        case ReleaseState.SHADOW | ReleaseState.CANARY | ReleaseState.LIVE:
            return "it is on its way to users already"
        case ReleaseState.REFUSED:
            return f"the probe stands against it: {release.reason}"
        case _:
            return "it is closed"


def _instead(release: Release) -> str:
    match release.state:
        case ReleaseState.REGISTERED | ReleaseState.PROBED:
            return "Wait for the gate: flywheel gate show."
        case ReleaseState.SHADOW | ReleaseState.CANARY | ReleaseState.LIVE:
            return "See flywheel release status."
        case _:
            return "Train another adapter; names are never used again."
