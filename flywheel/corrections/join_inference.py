"""Which request is the correction about?

In: the correction, the recorded request when there is one, the entity keys of the workload. Out: the correction joined with
its prompt, or the reason why it cannot be joined (yet). Loading the request and trying again are not done here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from flywheel.corrections.correction import Correction, JoinedCorrection
from flywheel.traffic.attempt_outcome import AttemptOutcome
from flywheel.traffic.inference import Inference
from flywheel.traffic.redaction import CUT_MARK
from flywheel.traffic.task_prompt import task_prompt


class JoinOutcome(StrEnum):
    """How the join ended."""

    JOINED = "joined"
    INLINE = "inline"  # the request came with the correction
    NOT_RECORDED = "not_recorded"  # the traffic may not have arrived yet
    CUT = "cut"  # something of the request or of the answers is not kept: it is never trained on


@dataclass(frozen=True, kw_only=True)
class JoinDecision:
    """``joined`` is set for JOINED and INLINE."""

    outcome: JoinOutcome
    reason: str
    joined: JoinedCorrection | None = None


def join(*, correction: Correction, request: Inference | None, entity_keys: Sequence[str]) -> JoinDecision:
    """The recorded request wins over an inline one: it is what the model was asked and answered. Half of an answer is no answer."""
    if any(CUT_MARK in answer for answer in (correction.original, correction.corrected) if answer is not None):
        why = "a part of its answers could not be searched for personal data and was cut"
        return JoinDecision(outcome=JoinOutcome.CUT, reason=f"the correction cannot be trained on: {why}")
    if request is not None:
        if request.exchange.left_out:
            # Names no path: keys in it may be a user's words.
            why = request.exchange.unreadable or "parts are not kept, as of a picture or over 1 MB; see `flywheel exchange show`"
            return JoinDecision(outcome=JoinOutcome.CUT, reason=f"the recorded request cannot be trained on: {why}")
        return JoinDecision(
            outcome=JoinOutcome.JOINED,
            reason="joined to the recorded request",
            joined=JoinedCorrection(
                correction=correction,
                messages=request.exchange.prompt.messages,
                tools=request.exchange.prompt.tools,
                settings=task_prompt(request.exchange.prompt).settings,
                original=request.exchange.answer_text if request.attempt.outcome is AttemptOutcome.OK else correction.original,
                entity=declared_entity(request.dimensions, entity_keys),
                dimensions=request.dimensions,
                adapter=request.adapter,
            ),
        )
    inline = correction.inline
    if inline.left_out:
        return JoinDecision(
            outcome=JoinOutcome.CUT,
            reason=f"the request cannot be trained on: {inline.left_out[0]} is not kept as it was sent",
        )
    if inline.messages:
        return JoinDecision(
            outcome=JoinOutcome.INLINE,
            reason="the request came with the correction",
            joined=JoinedCorrection(
                correction=correction,
                messages=inline.messages,
                tools=inline.tools,
                original=correction.original,
                entity=declared_entity(inline.dimensions, entity_keys),
                dimensions=inline.dimensions,
                joined=False,
            ),
        )
    return JoinDecision(
        outcome=JoinOutcome.NOT_RECORDED, reason="no request with this id is recorded yet: our id, the completion's or the client's"
    )


def without_request(correction: Correction) -> JoinedCorrection:
    """A correction whose request is unknown, in the form in which corrections are stored."""
    return JoinedCorrection(correction=correction, messages=(), original=correction.original, entity="", joined=False)


def declared_entity(dimensions: Mapping[str, str], entity_keys: Sequence[str]) -> str:
    """The first key that is present, as ``function=get_weather``; empty when none is. ``dim:<name>`` reads a dimension."""
    for key in entity_keys:
        name = key.removeprefix("dim:")
        if dimensions.get(name):
            return f"{name}={dimensions[name]}"
    return ""
