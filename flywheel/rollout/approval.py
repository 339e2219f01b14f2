"""May a named person approve this release?

In: the release, the decision of its newest gate, who asks and why. Out: the release, approved; or Refused with the reason.
Whether the person's token covers it, and the move to shadow, are decided elsewhere.

An override lifts a gate's refusal and nothing else: an adapter that is not served as trained cannot be approved at all.
"""

from dataclasses import replace
from datetime import datetime

from flywheel.errors import InvalidInput, Refused
from flywheel.gate.axes import GateDecision, GateVerdict
from flywheel.ids import Person
from flywheel.rollout.release import Release, ReleaseState


def approve(*, release: Release, gate: GateDecision | None, override: bool, by: Person, reason: str, now: datetime) -> Release:
    """Approving twice changes nothing. An override needs a reason, which is kept in the journal."""
    if override and not reason.strip():
        raise InvalidInput("an override needs a reason", where="reason", remedy="Give one with --reason; it is kept in the journal.")
    if release.state is ReleaseState.GATED:
        return (
            release
            if release.approved_by
            else replace(release, approved_by=by, since=now, reason=_with_reason("approved", by, reason), actor=by)
        )
    if release.state is ReleaseState.REFUSED and release.gate:
        if not override:
            raise Refused(
                f"its gate refused it: {gate.reason if gate else release.reason}",
                where=release.adapter,
                remedy="Correct the training, or override the gate: flywheel release approve --override-gate --reason '...'.",
            )
        verdict = gate.verdict if gate else GateVerdict.REFUSE
        return replace(
            release,
            state=ReleaseState.GATED,
            since=now,
            reason=_with_reason(f"gate overridden ({verdict.value})", by, reason),
            actor=by,
            overridden_by=by,
            approved_by=by,
        )
    raise Refused(_why_not(release), where=release.adapter, value=release.state.value, remedy=_what_to_do(release))


def _with_reason(what: str, by: Person, reason: str) -> str:
    return f"{what} by {by}: {reason.strip()}" if reason.strip() else f"{what} by {by}"


def _why_not(release: Release) -> str:
    match release.state:
        case ReleaseState.REGISTERED | ReleaseState.PROBED:
            return "its gate has not been decided yet"
        case ReleaseState.SHADOW | ReleaseState.CANARY | ReleaseState.LIVE:
            return "it is approved already"
        case ReleaseState.REFUSED:
            return f"the weight parity check refused it: {release.reason}"
        case _:
            return "it is closed"


def _what_to_do(release: Release) -> str:
    match release.state:
        case ReleaseState.REGISTERED | ReleaseState.PROBED:
            return "Wait for the gate: flywheel gate show."
        case ReleaseState.SHADOW | ReleaseState.CANARY | ReleaseState.LIVE:
            return "See flywheel release status."
        case _:
            return "Train another adapter; names are never used again."
