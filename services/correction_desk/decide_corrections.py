"""Decides corrections: decode -> redact -> join -> decide -> save.

In: raw events of the corrections topic, and a timer's tick for corrections whose request is not recorded yet. Out: saved corrections, their
cases, events for knowledge gaps. Safe to repeat: a decided correction stays as it was decided. Reading the topic and acknowledging are
not done here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from hashlib import sha256

import structlog

from flywheel.clock import lies_ahead
from flywheel.corrections import acceptance
from flywheel.corrections.acceptance import AcceptancePolicy, AcceptedSoFar, CorrectionOutcome, ExclusionSet
from flywheel.corrections.correction import Correction, CorrectionState, JoinedCorrection, Remarks
from flywheel.corrections.join_inference import join, without_request
from flywheel.corrections.near_duplicates import NearPrompts
from flywheel.errors import Conflict, InvalidInput
from flywheel.ids import CorrectionId, WorkloadId, derive
from flywheel.journal import JournalEntry, JournalKind
from flywheel.regression_suite.case import Case
from flywheel.regression_suite.case_of_correction import case_of
from flywheel.traffic.dead_letter import LetterCause
from flywheel.traffic.exchange import Prompt
from flywheel.traffic.message import message_from_wire
from flywheel.traffic.names import names_of, people
from flywheel.traffic.redaction import Redact, redacted_fault, redacted_json, unsearched_paths
from flywheel.training_set.example import example_id
from flywheel.training_set.surrogates import prompt_with_surrogates
from services.correction_desk.attempt_twice import attempt_twice
from services.correction_desk.watched_work import WatchedWork
from services.correction_desk.wiring import CorrectionDeskParts, CorrectionRules
from services.ports.corrections import KeptCorrection

log = structlog.get_logger()


class NoSuchWorkload(InvalidInput):
    """The correction is one, but of a workload that is not configured."""

    cause = LetterCause.REFUSED


@dataclass(frozen=True, kw_only=True)
class CorrectionResult:
    """``new`` is False when the correction was decided before, or still waits for its request."""

    state: CorrectionState
    reason: str
    new: bool


class CorrectionDesk:
    """Decides one correction at a time: each decision needs the one before."""

    def __init__(self, parts: CorrectionDeskParts) -> None:
        self._ledger, self._parts = parts.ledger, parts
        self._accepted: dict[WorkloadId, AcceptedSoFar] = {}
        self._excluded: dict[WorkloadId, tuple[str, ExclusionSet]] = {}
        self._waits_anew: dict[CorrectionId, datetime] = {}  # few: the process forgets them when it ends
        self._work = WatchedWork(parts.notes)
        self.may_wait = True
        """False if no correction can be waiting for its request, which saves a query a second."""

    def receive(self, raw: bytes, *, now: datetime) -> CorrectionResult:
        """Decides on one event. Raises InvalidInput when it can never be a correction or never be decided, so that it is dead-lettered."""
        return self._attempt(derive("event", sha256(raw).hexdigest()), lambda: self._receive(raw, now=now))

    def _attempt(self, name: str, attempt: Callable[[], CorrectionResult]) -> CorrectionResult:
        def start_anew() -> None:
            self._accepted.clear()
            self._excluded.clear()

        with self._work.on(name):
            return attempt_twice(attempt, start_anew=start_anew, of_machine=self._parts.of_machine)

    def _receive(self, raw: bytes, *, now: datetime) -> CorrectionResult:
        correction, submitted_by = self._decoded(raw)
        if correction.workload not in self._parts.rules:
            raise NoSuchWorkload(
                "there is no such workload",
                where="$.data.workload_id",
                value=correction.workload,
                remedy=f"Known: {', '.join(sorted(self._parts.rules)) or 'none'}.",
            )
        found = self._ledger.by_given_id(correction.given_id, source=correction.source, workload=correction.workload)
        known = next(iter(found), None)
        if known is not None:
            correction = replace(correction, id=known.joined.correction.id)  # an older version stored it under another id
        if known is not None and known.state is not CorrectionState.SUBMITTED:
            return CorrectionResult(state=known.state, reason=f"decided before: {known.reason}", new=False)
        since = self._waits_since(known, now) if known is not None else now
        return self._join_and_decide(self._redacted(correction), since=since, now=now, submitted_by=submitted_by)

    def _decoded(self, raw: bytes) -> tuple[Correction, str]:
        try:
            return self._parts.decode(raw)
        except InvalidInput as error:
            reason, where = (redacted_fault(told, self._parts.redactor.redact) for told in (error.reason, error.where))
            raise InvalidInput(reason, where=where, remedy=error.remedy) from None

    def retry_waiting(self, *, now: datetime) -> int:
        """Decides again on corrections whose request has come, or whose wait is over; returns how many have an outcome now.

        Of the others no request is read and nothing is written: many may wait for requests that never come.
        """
        if not self.may_wait:
            return 0
        self.may_wait = False  # a correction that goes on waiting sets it again
        return sum(self._decide_again(kept, now=now).new for workload in self._parts.rules for kept in self._due(workload, now=now))

    def _due(self, workload: WorkloadId, *, now: datetime) -> list[KeptCorrection]:
        waiting = self._ledger.corrections(workload, state=CorrectionState.SUBMITTED)
        asked = [kept.joined.correction.request_id for kept in waiting]
        arrived = self._parts.traffic.named([one for one in asked if one is not None], workload=workload)
        policy = self._parts.rules[workload].policy
        due = [
            kept
            for kept, request in zip(waiting, asked, strict=True)
            if request is None or request in arrived or acceptance.wait_is_over(since=self._waits_since(kept, now), now=now, policy=policy)
        ]
        self.may_wait = self.may_wait or len(due) < len(waiting)
        return due

    def _decide_again(self, kept: KeptCorrection, *, now: datetime) -> CorrectionResult:
        """What cannot be decided is left to a person: its event was acknowledged, so that it is no dead letter."""
        correction = kept.joined.correction
        try:
            return self._attempt(
                derive("waiting", correction.id),
                lambda: self._join_and_decide(correction, since=self._waits_since(kept, now), now=now),
            )
        except InvalidInput as error:
            outcome = CorrectionOutcome(state=CorrectionState.REVIEW, reason=error.reason)
            reviewed = _kept(without_request(correction), outcome, at=now)
            return self._decided(reviewed, self._ledger.keep(reviewed, None, _entry(reviewed, outcome, "", now=now)))

    def _waits_since(self, kept: KeptCorrection, now: datetime) -> datetime:
        """A wait that began in the future, by a clock that ran ahead, begins anew."""
        if not lies_ahead(kept.decided_at, now=now):
            return kept.decided_at
        return self._waits_anew.setdefault(kept.joined.correction.id, now)

    def _join_and_decide(self, correction: Correction, *, since: datetime, now: datetime, submitted_by: str = "") -> CorrectionResult:
        rules = self._parts.rules[correction.workload]
        recorded = None
        if correction.request_id is not None:
            recorded = self._parts.traffic.by_request(correction.request_id, workload=correction.workload)
        request = recorded.inference if recorded is not None else None
        decision = join(correction=correction, request=request, entity_keys=rules.entity_keys)
        if decision.joined is not None:
            return self._decide(decision.joined, rules, now=now, submitted_by=submitted_by)
        outcome = acceptance.decide_without_request(join=decision, since=since, now=now, policy=rules.policy)
        waits = outcome.state is CorrectionState.SUBMITTED
        self.may_wait = self.may_wait or waits
        at = since if waits else now
        kept = _kept(without_request(correction), outcome, at=at)
        return self._decided(kept, self._ledger.keep(kept, None, _entry(kept, outcome, submitted_by, now=now)))

    def _decide(self, joined: JoinedCorrection, rules: CorrectionRules, *, now: datetime, submitted_by: str) -> CorrectionResult:
        try:
            return self._decide_once(joined, rules, now=now, submitted_by=submitted_by)
        except Conflict:  # another process accepted the same prompt since we last looked: look again
            self._accepted.pop(joined.correction.workload, None)
            return self._decide_once(joined, rules, now=now, submitted_by=submitted_by)

    def _decide_once(self, joined: JoinedCorrection, rules: CorrectionRules, *, now: datetime, submitted_by: str) -> CorrectionResult:
        workload = joined.correction.workload
        so_far = self._so_far(workload, rules.policy)
        outcome = acceptance.decide(joined=joined, so_far=so_far, golden=self._exclusion_set(workload, rules.policy), policy=rules.policy)
        kept = _kept(joined, outcome, at=now)
        case = _case(joined, outcome, rules, now=now) if outcome.state is CorrectionState.ACCEPTED else None
        messages = (self._parts.knowledge_gap(kept, now),) if outcome.state is CorrectionState.KNOWLEDGE_GAP else ()
        new = self._ledger.keep(kept, case, _entry(kept, outcome, submitted_by, now=now, case=case), messages)
        if new and outcome.state is CorrectionState.ACCEPTED:
            _remember(so_far, kept)
        return self._decided(kept, new)

    def _decided(self, kept: KeptCorrection, new: bool) -> CorrectionResult:
        waits = kept.state is CorrectionState.SUBMITTED
        if new:
            log.info(
                f"Correction {kept.state}: {kept.reason}",
                action=f"correction_{kept.state}",
                correction=kept.joined.correction.id,
                workload=kept.joined.correction.workload,
            )
        return CorrectionResult(state=kept.state, reason=kept.reason, new=new and not waits)

    def _redacted(self, correction: Correction) -> Correction:
        """The correction without personal data; the author gets a pseudonym. Runs before anything is stored."""
        inline, found = correction.inline, 0
        names = tuple(dict.fromkeys((*people([correction.author]), *names_of(Prompt(messages=inline.messages)))))
        search: Redact = partial(self._parts.redactor.redact, names=names) if names else self._parts.redactor.redact

        def redact(text: str) -> tuple[str, int]:
            nonlocal found
            redacted, count = search(text)
            found += count
            return redacted, count

        def clean(text: str) -> str:
            return redact(text)[0]

        wire = [redacted_json(message.to_wire(), redact) for message in inline.messages]
        tools = [redacted_json(tool, redact) for tool in inline.tools]
        left_out = (*inline.left_out, *unsearched_paths(wire, "messages"), *unsearched_paths(tools, "tools"))
        return replace(
            correction,
            inline=replace(
                inline,
                messages=tuple(message_from_wire(message, where="messages") for message in wire),
                tools=tuple(tools),
                dimensions={clean(name): clean(value) for name, value in inline.dimensions.items()},
                left_out=tuple(redacted_fault(path, search) for path in left_out),
            ),
            original=clean(correction.original) if correction.original is not None else None,
            corrected=clean(correction.corrected) if correction.corrected is not None else None,
            remarks=Remarks(comment=clean(correction.remarks.comment), ticket=clean(correction.remarks.ticket)),
            author=self._parts.pseudonym_of(correction.author),
            redactions=found,
        )

    def _so_far(self, workload: WorkloadId, policy: AcceptancePolicy) -> AcceptedSoFar:
        """Read from the ledger once, then kept up to date: a decision needs all earlier ones."""
        if workload not in self._accepted:
            so_far = AcceptedSoFar(policy)
            for kept in self._ledger.corrections(workload, state=CorrectionState.ACCEPTED):
                _remember(so_far, kept)
            self._accepted[workload] = so_far
        return self._accepted[workload]

    def _exclusion_set(self, workload: WorkloadId, policy: AcceptancePolicy) -> ExclusionSet:
        golden = self._parts.suite.golden(workload)
        if golden is None:
            return ExclusionSet()
        known = self._excluded.get(workload)
        if known is None or known[0] != golden.id:
            prompts = NearPrompts(threshold=policy.near_duplicate)
            for case in golden.cases:
                prompts.add(case.id, case.messages)
            known = (golden.id, ExclusionSet(entities=frozenset(case.entity for case in golden.cases), prompts=prompts))
            self._excluded[workload] = known
        return known[1]


def _kept(joined: JoinedCorrection, outcome: CorrectionOutcome, *, at: datetime) -> KeptCorrection:
    return KeptCorrection(
        joined=joined,
        state=outcome.state,
        reason=outcome.reason,
        decided_at=at,
        entity=outcome.entity,
        held_out=outcome.held_out,
        prompt_key=outcome.prompt_key,
    )


def _remember(so_far: AcceptedSoFar, kept: KeptCorrection) -> None:
    so_far.add(joined=kept.joined, entity=kept.entity, held_out=kept.held_out)


def _case(joined: JoinedCorrection, outcome: CorrectionOutcome, rules: CorrectionRules, *, now: datetime) -> Case:
    """With the same surrogates as the training example: a person has one name in both."""
    correction = joined.correction
    assert correction.corrected is not None  # acceptance sends everything else to review
    prompt, (corrected,) = prompt_with_surrogates(
        joined.prompt, [correction.corrected], seed=example_id(correction.workload, correction.id)
    )
    return case_of(
        joined=joined,
        outcome=outcome,
        prompt=prompt,
        corrected=corrected,
        slice_dimensions=rules.slice_dimensions,
        comparison=rules.policy.comparison,
        now=now,
    )


def _entry(kept: KeptCorrection, outcome: CorrectionOutcome, submitted_by: str, *, now: datetime, case: Case | None = None) -> JournalEntry:
    """The journal line: ids, states and numbers only."""
    correction = kept.joined.correction
    evidence: dict[str, object] = {
        **outcome.evidence,
        "kind": correction.kind.value,
        "source": correction.source,
        "reason_code": correction.reason_code,
        "redactions": correction.redactions,
        "joined": kept.joined.joined,
        "adapter": kept.joined.adapter,
    }
    if submitted_by:
        evidence["submitted_by"] = submitted_by
    if case is not None:
        evidence |= {"case": case.id, "tier": case.tier.value}
    return JournalEntry(
        at=now,
        workload=correction.workload,
        kind=JournalKind.CORRECTION,
        subject=correction.id,
        state=kept.state.value,
        reason=kept.reason,
        caused_by=correction.request_id or "",
        evidence=evidence,
    )
