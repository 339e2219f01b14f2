"""What becomes of a correction?

In: the correction with its request, what was accepted before, the golden set's exclusion set, the policy. Out: a CorrectionOutcome:
state, reason, entity, held out or not. The order is: diagnosis, duplicates and contradictions, review, split. A correction without its
request waits, is reviewed or rejected. Joining, redacting and storing are not done here.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flywheel.clock import has_passed
from flywheel.comparison import ComparisonPolicy
from flywheel.corrections import contradictions, review, split
from flywheel.corrections.contradictions import Relation
from flywheel.corrections.correction import CorrectionState, JoinedCorrection
from flywheel.corrections.diagnosis import Cause, diagnose
from flywheel.corrections.duplicates import prompt_key
from flywheel.corrections.join_inference import JoinDecision, JoinOutcome
from flywheel.corrections.near_duplicates import NearPrompts, judged
from flywheel.corrections.split import RelatedCorrection
from flywheel.ids import CorrectionId
from flywheel.traffic.message import Message


@dataclass(frozen=True, kw_only=True)
class AcceptancePolicy:
    """Whose corrections are accepted without review, when two are the same, how they are split, how long they wait for their request."""

    trusted_sources: frozenset[str] = frozenset()
    held_out_share: float = 0.2
    near_duplicate: float = 0.7  # similarity of the wording, 0 to 1, from which two prompts count as one
    comparison: ComparisonPolicy = ComparisonPolicy()  # the workload's; graders and curation have the same
    wait_for_request: timedelta = timedelta(minutes=10)  # far longer than any lag of the recorder


@dataclass(frozen=True, kw_only=True)
class CorrectionOutcome:
    """The correction's state from now on. The key is empty when there is no corrected answer."""

    state: CorrectionState
    reason: str
    entity: str = ""
    held_out: bool = False
    prompt_key: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict)  # ids and numbers, never text


@dataclass(frozen=True, kw_only=True)
class _Known:
    id: CorrectionId
    entity: str
    held_out: bool
    answer: str


class AcceptedSoFar:
    """The accepted corrections of one workload, as far as the next decision needs them."""

    def __init__(self, policy: AcceptancePolicy) -> None:
        self._comparison = policy.comparison
        self._by_prompt: dict[str, _Known] = {}
        self._by_entity: dict[str, dict[CorrectionId, _Known]] = {}
        self._by_id: dict[str, _Known] = {}
        self._prompts = NearPrompts(threshold=policy.near_duplicate)

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, *, joined: JoinedCorrection, entity: str, held_out: bool) -> None:
        """Called after the correction was stored as accepted."""
        known = _Known(id=joined.correction.id, entity=entity, held_out=held_out, answer=joined.correction.corrected or "")
        key = prompt_key(joined.prompt, declared_entity=joined.entity, comparison=self._comparison)
        self._by_id[known.id] = known
        self._by_prompt.setdefault(key, known)
        self._by_entity.setdefault(entity, {})[known.id] = known
        self._prompts.add(known.id, joined.messages)

    def with_prompt(self, prompt_key: str) -> tuple[CorrectionId, str] | None:
        """Id and answer of the accepted correction of this prompt."""
        known = self._by_prompt.get(prompt_key)
        return (known.id, known.answer) if known else None

    def near(self, messages: Sequence[Message]) -> tuple[RelatedCorrection, ...]:
        """Accepted corrections with nearly the same prompt, the most similar first."""
        found = (self._by_id[key] for key in self._prompts.near(messages))
        return tuple(RelatedCorrection(entity=known.entity, held_out=known.held_out) for known in found)

    def of_entity(self, entity: str) -> tuple[RelatedCorrection, ...]:
        """Accepted corrections of this entity."""
        return tuple(RelatedCorrection(entity=known.entity, held_out=known.held_out) for known in self._by_entity.get(entity, {}).values())


@dataclass(frozen=True, kw_only=True)
class ExclusionSet:
    """What is never trained on: the golden set's entities and prompts."""

    entities: Collection[str] = frozenset()
    prompts: NearPrompts | None = None

    def excludes(self, *, entity: str, messages: Sequence[Message]) -> bool:
        """True when the set has the entity or nearly this prompt."""
        return entity in self.entities or (self.prompts is not None and bool(self.prompts.near(messages)))


def decide(*, joined: JoinedCorrection, so_far: AcceptedSoFar, golden: ExclusionSet, policy: AcceptancePolicy) -> CorrectionOutcome:
    """Returns one state with its reason."""
    correction = joined.correction
    diagnosis = diagnose(joined, policy.comparison)
    if diagnosis.cause is Cause.KNOWLEDGE:
        return CorrectionOutcome(state=CorrectionState.KNOWLEDGE_GAP, reason=diagnosis.reason, entity=joined.entity)
    if diagnosis.cause is Cause.NONE:
        return CorrectionOutcome(state=CorrectionState.REJECTED, reason=diagnosis.reason, entity=joined.entity)
    if correction.corrected is None:
        return CorrectionOutcome(
            state=CorrectionState.REVIEW,
            reason=review.decide(correction=correction, trusted_sources=policy.trusted_sources).reason,
            entity=joined.entity,
        )

    key = prompt_key(joined.prompt, declared_entity=joined.entity, comparison=policy.comparison)
    related = contradictions.relate(answer=correction.corrected, accepted=so_far.with_prompt(key), policy=policy.comparison)
    if related.relation is not Relation.NEW:
        state = CorrectionState.DUPLICATE if related.relation is Relation.SAME else CorrectionState.CONTRADICTION
        return CorrectionOutcome(
            state=state, reason=related.reason, entity=joined.entity, prompt_key=key, evidence={"other": str(related.other)}
        )

    reviewed = review.decide(correction=correction, trusted_sources=policy.trusted_sources)
    if reviewed.needed:
        return CorrectionOutcome(state=CorrectionState.REVIEW, reason=reviewed.reason, entity=joined.entity, prompt_key=key)
    return _accepted(joined, key, reviewed.reason, so_far=so_far, golden=golden, policy=policy)


def wait_is_over(*, since: datetime, now: datetime, policy: AcceptancePolicy) -> bool:
    """Whether a correction has waited for its request long enough."""
    return has_passed(policy.wait_for_request, since=since, now=now)


def decide_without_request(*, join: JoinDecision, since: datetime, now: datetime, policy: AcceptancePolicy) -> CorrectionOutcome:
    """Decides on a correction that could not be joined: it waits for its request, then a person reviews it."""
    if join.outcome is JoinOutcome.CUT:
        return CorrectionOutcome(state=CorrectionState.REJECTED, reason=join.reason)
    if wait_is_over(since=since, now=now, policy=policy):
        minutes = policy.wait_for_request.total_seconds() / 60
        reason = f"its request was not recorded within {minutes:g} minutes: {join.reason}"
        return CorrectionOutcome(state=CorrectionState.REVIEW, reason=reason)
    return CorrectionOutcome(state=CorrectionState.SUBMITTED, reason=join.reason)


def _accepted(
    joined: JoinedCorrection,
    key: str,
    no_review_reason: str,
    *,
    so_far: AcceptedSoFar,
    golden: ExclusionSet,
    policy: AcceptancePolicy,
) -> CorrectionOutcome:
    neighbours = so_far.near(joined.messages)
    entity = joined.entity or (neighbours[0].entity if neighbours else judged(joined.messages).cluster)
    placed = split.decide(
        workload=joined.correction.workload,
        entity=entity,
        related=(*neighbours, *so_far.of_entity(entity)),
        golden=golden.excludes(entity=entity, messages=joined.messages),
        share=policy.held_out_share,
    )
    return CorrectionOutcome(
        state=CorrectionState.ACCEPTED,
        reason=f"{no_review_reason}; {'held out' if placed.held_out else 'trains'}: {placed.reason}",
        entity=entity,
        held_out=placed.held_out,
        prompt_key=key,
        evidence={"held_out": placed.held_out, "neighbours": len(neighbours), "conflicts": placed.conflicts},
    )
