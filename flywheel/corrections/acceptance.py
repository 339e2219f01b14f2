"""What becomes of a joined correction?

In: the correction with its request, what was accepted before, the golden set's ground, the policy. Out: an Outcome: state,
reason, entity, side. The order is diagnose -> duplicates and contradictions -> review -> split. Joining, redacting and
keeping are not done here.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from flywheel.corrections import contradictions, review, split
from flywheel.corrections.clusters import NearTexts, asked
from flywheel.corrections.contradictions import Relation
from flywheel.corrections.correction import CorrectionState, JoinedCorrection
from flywheel.corrections.diagnosis import Cause, diagnose
from flywheel.corrections.duplicates import answer_key, prompt_key
from flywheel.corrections.split import Relative
from flywheel.ids import CorrectionId, digest_of


@dataclass(frozen=True, kw_only=True)
class AcceptancePolicy:
    """Whose fixes count unseen, and how they are split."""

    trusted_sources: frozenset[str] = frozenset()
    held_out_share: float = 0.2
    near_duplicate: float = 0.7  # overlap of the wording from which two prompts are one


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Where the correction stands from now on. Keys are empty when there is no right answer to compare."""

    state: CorrectionState
    reason: str
    entity: str = ""
    held_out: bool = False
    prompt_key: str = ""
    answer_key: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict)  # ids and numbers, never text


@dataclass(frozen=True, kw_only=True)
class _Known:
    id: CorrectionId
    entity: str
    held_out: bool
    answer_key: str


class AcceptedSoFar:
    """The accepted corrections of one workload, as far as the next decision needs them."""

    def __init__(self, *, near_duplicate: float) -> None:
        self._by_prompt: dict[str, _Known] = {}
        self._by_entity: dict[str, dict[CorrectionId, _Known]] = {}
        self._by_id: dict[str, _Known] = {}
        self._texts = NearTexts(threshold=near_duplicate)

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, *, joined: JoinedCorrection, entity: str, held_out: bool, prompt_key: str, answer_key: str) -> None:
        """After it was kept as accepted."""
        known = _Known(id=joined.correction.id, entity=entity, held_out=held_out, answer_key=answer_key)
        self._by_id[known.id] = known
        self._by_prompt.setdefault(prompt_key, known)
        self._by_entity.setdefault(entity, {})[known.id] = known
        self._texts.add(known.id, asked(joined.messages))

    def with_prompt(self, prompt_key: str) -> tuple[CorrectionId, str] | None:
        """Id and answer key of the accepted fix of this prompt."""
        known = self._by_prompt.get(prompt_key)
        return (known.id, known.answer_key) if known else None

    def near(self, text: str) -> tuple[Relative, ...]:
        """Accepted fixes that ask nearly the same, the nearest first."""
        found = (self._by_id[key] for key in self._texts.near(text))
        return tuple(Relative(entity=known.entity, held_out=known.held_out) for known in found)

    def of_entity(self, entity: str) -> tuple[Relative, ...]:
        """Accepted fixes of this entity."""
        return tuple(Relative(entity=known.entity, held_out=known.held_out) for known in self._by_entity.get(entity, {}).values())


@dataclass(frozen=True, kw_only=True)
class ProtectedGround:
    """What must never be trained on: the golden set's entities and prompts."""

    entities: Collection[str] = frozenset()
    texts: NearTexts | None = None

    def holds(self, *, entity: str, text: str) -> bool:
        """True when the entity, or nearly this prompt, is protected."""
        return entity in self.entities or (self.texts is not None and bool(self.texts.near(text)))


def decide(*, joined: JoinedCorrection, so_far: AcceptedSoFar, golden: ProtectedGround, policy: AcceptancePolicy) -> Outcome:
    """One state, always with its reason."""
    correction = joined.correction
    diagnosis = diagnose(joined)
    if diagnosis.cause is Cause.KNOWLEDGE:
        return Outcome(state=CorrectionState.KNOWLEDGE_GAP, reason=diagnosis.reason, entity=joined.entity)
    if diagnosis.cause is Cause.NONE:
        return Outcome(state=CorrectionState.REJECTED, reason=diagnosis.reason, entity=joined.entity)
    if correction.corrected is None:
        return Outcome(
            state=CorrectionState.REVIEW,
            reason=review.decide(correction=correction, trusted_sources=policy.trusted_sources).reason,
            entity=joined.entity,
        )

    keys = (prompt_key(joined.messages, declared_entity=joined.entity), answer_key(correction.corrected))
    comparison = contradictions.compare(answer_key=keys[1], accepted=so_far.with_prompt(keys[0]))
    if comparison.relation is not Relation.NEW:
        state = CorrectionState.DUPLICATE if comparison.relation is Relation.SAME else CorrectionState.CONTRADICTION
        return Outcome(
            state=state,
            reason=comparison.reason,
            entity=joined.entity,
            prompt_key=keys[0],
            answer_key=keys[1],
            evidence={"other": str(comparison.other)},
        )

    looked_at = review.decide(correction=correction, trusted_sources=policy.trusted_sources)
    if looked_at.needed:
        return Outcome(state=CorrectionState.REVIEW, reason=looked_at.reason, entity=joined.entity, prompt_key=keys[0], answer_key=keys[1])
    return _accepted(joined, keys, looked_at.reason, so_far=so_far, golden=golden, policy=policy)


def _accepted(
    joined: JoinedCorrection,
    keys: tuple[str, str],
    why_unseen: str,
    *,
    so_far: AcceptedSoFar,
    golden: ProtectedGround,
    policy: AcceptancePolicy,
) -> Outcome:
    text = asked(joined.messages)
    neighbours = so_far.near(text)
    entity = joined.entity or (neighbours[0].entity if neighbours else f"cluster-{digest_of(text)[:16]}")
    side = split.decide(
        workload=joined.correction.workload,
        entity=entity,
        relatives=(*neighbours, *so_far.of_entity(entity)),
        golden=golden.holds(entity=entity, text=text),
        share=policy.held_out_share,
    )
    return Outcome(
        state=CorrectionState.ACCEPTED,
        reason=f"{why_unseen}; {'held out' if side.held_out else 'trains'}: {side.reason}",
        entity=entity,
        held_out=side.held_out,
        prompt_key=keys[0],
        answer_key=keys[1],
        evidence={"held_out": side.held_out, "neighbours": len(neighbours), "conflicts": side.conflicts},
    )
