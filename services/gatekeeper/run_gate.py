"""Gates the adapters that were proven applied: asks all arms the same items, axis by axis, and judges.

Asks the models directly, never through the gateway. Ends at the first axis that refuses. Loading adapters is not done here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cached_property

import structlog

from flywheel.errors import CannotRun, NotFound
from flywheel.gate import axis_order, decide, few_shot, judge_axis, power
from flywheel.gate.attempts import Attempts
from flywheel.gate.axes import AxisPolicy, AxisVerdict, GateDecision, GateVerdict, Role
from flywheel.gate.entities import Agreement, measure
from flywheel.gate.outcomes import LinedUp, Outcome, line_up
from flywheel.ids import BASE, AdapterName, GateId, Person, WorkloadId, derive
from flywheel.journal import JournalEntry
from flywheel.regression_suite.case import Case, Tier
from flywheel.regression_suite.golden import GoldenSet
from flywheel.regression_suite.grade import Grade, grade
from flywheel.rollout.release import ReleaseState
from flywheel.training_set.example import Example
from services.gatekeeper.wiring import GatedWorkload, GatekeeperParts, champion_of
from services.ports.gate import GateRecord
from services.ports.work import WorkItem

ANSWERED = range(200, 500)  # a 4xx is the arm's own failure on this item; 0, 404 and 5xx are nobody's answer
log = structlog.get_logger("gatekeeper")


def ask_for_missing_gates(parts: GatekeeperParts, now: datetime) -> None:
    """A release that is proven applied and has no gate yet gets one, once."""
    for workload in parts.workloads:
        for release in parts.releases.releases(workload, open_only=True):
            if release.state is ReleaseState.PROBED and not parts.gates.gates(workload, adapter=release.adapter):
                item = WorkItem(
                    id=derive("work", "gate", release.id),
                    kind="gate",
                    workload=workload,
                    payload={"adapter": release.adapter, "actor": "flywheel"},
                    caused_by=release.id,
                )
                parts.work.put(item, now=now)


def gate(item: WorkItem, parts: GatekeeperParts, now: datetime) -> GateRecord:
    """Safe to repeat: the gate's id comes from the work item, and answers are kept. Raises CannotRun when an arm does not answer."""
    gate_id = GateId(derive("gate", item.id))
    kept = parts.gates.gate(gate_id)
    if kept is not None:
        return kept
    adapter = AdapterName(str(item.payload["adapter"]))
    workload = parts.workloads.get(item.workload)
    bundle = parts.runs.adapter(adapter)
    if workload is None or bundle is None:
        raise NotFound("there is no such adapter of this workload", where="gate", value=adapter, remedy="See `flywheel release status`.")
    champion = champion_of(parts.releases, item.workload, BASE)
    golden = parts.suite.golden(item.workload)
    attempts = Attempts()
    foretold: power.GatePower | None = None
    base_now = parts.base_digest()
    if base_now is not None and base_now != bundle.base_digest:
        decision = GateDecision(
            verdict=GateVerdict.REFUSE, reason="it was trained on another base model than the one that is served", axes=()
        )
    elif golden is None:
        decision = GateDecision(
            verdict=GateVerdict.CANNOT_TELL, reason="there is no golden set: freeze one with `flywheel golden freeze`", axes=()
        )
    else:
        attempts = attempts_before(
            parts.gates.gates(item.workload), adapter=adapter, champion=champion, golden_version=golden.version, policy=workload.policy
        )
        asking = _Asking(parts=parts, workload=workload, golden=golden, champion=champion, challenger=adapter, attempts=attempts)
        foretold = asking.foretold()
        log.info(foretold.reason, action="gate_power_foretold", adapter=adapter, chance=round(foretold.chance, 3))
        decision = asking.decision()
    record = GateRecord(
        id=gate_id,
        workload=item.workload,
        adapter=adapter,
        champion=champion,
        golden_version=golden.version if golden else 0,
        decision=decision,
        at=now,
    )
    parts.gates.save_gate(record, _entry(record, item, attempts, foretold))
    log.info(f"Gate of {adapter}: {decision.verdict}. {decision.reason}", action="gate_decided", gate=gate_id, adapter=adapter)
    return record


def attempts_before(
    gates: Sequence[GateRecord], *, adapter: AdapterName, champion: AdapterName, golden_version: int, policy: axis_order.GatePolicy
) -> Attempts:
    """What the record knows, the present gate included. A gate that ended before its golden items were judged tried nothing."""
    tried = [gate for gate in gates if any(axis.role is Role.SUPERIORITY and axis.n for axis in gate.decision.axes)]
    challengers = {gate.adapter for gate in tried if gate.champion == champion} | {adapter}
    again = [gate for gate in tried if (gate.adapter, gate.champion, gate.golden_version) == (adapter, champion, golden_version)]
    return Attempts(challengers=len(challengers), gates=len(again) + 1, planned_challengers=policy.planned_challengers)


@dataclass(frozen=True, kw_only=True)
class _Asking:
    """One gate while it asks. Arms: base, few_shot, champion (when it is not the base), challenger."""

    parts: GatekeeperParts
    workload: GatedWorkload
    golden: GoldenSet
    champion: AdapterName
    challenger: AdapterName
    attempts: Attempts
    _grades: dict[tuple[str, str], Grade] = field(default_factory=dict)

    def decision(self) -> GateDecision:
        axes: list[AxisVerdict] = []
        left: Sequence[AxisPolicy] = ()
        for at, policy in enumerate(self._policies):
            cases = self._cases(policy)
            if cases:
                axes.append(self._axis(policy, cases))
            elif policy.name == axis_order.GOLDEN:
                axes.append(judge_axis.judge(policy=policy, baselines={"base": ()}, challenger=()))
            if decide.stopped(axes):
                left = self._policies[at + 1 :]
                break
        return decide.decide(axes=axes, not_judged=[policy.name for policy in left if self._cases(policy)])

    def foretold(self) -> power.GatePower:
        """From the numbers of cases alone, before an arm is asked."""
        return power.before(axes=self._policies, entities={each.name: self._foretold_cases(each) for each in self._policies})

    def _foretold_cases(self, policy: AxisPolicy) -> Sequence[str]:
        """Whether a case asks for a format is known only from its grade: here all of those that a tool call answers."""
        cases = self._cases(policy)
        if policy.name == axis_order.FORMAT:
            cases = [case for case in cases if case.grader.kind == "tool_call"]
        return [case.entity for case in cases]

    @cached_property
    def _policies(self) -> Sequence[AxisPolicy]:
        return axis_order.axes_in_order(policy=self.workload.policy, protected=self.workload.protected, attempts=self.attempts)

    def _cases(self, policy: AxisPolicy) -> Sequence[Case]:
        suite, limits = self.parts.suite, self.workload.policy
        if policy.name in (axis_order.GOLDEN, axis_order.FORMAT):
            return self.golden.cases
        if policy.name == axis_order.RECURRENCE:
            return _some(suite.cases(self.workload.id, tier=Tier.RECURRENCE), limits.recurrence_at_most)
        if policy.name == axis_order.HELD_OUT:
            return _some(suite.cases(self.workload.id, tier=Tier.HELD_OUT), limits.held_out_at_most)
        if policy.name == axis_order.GENERAL:
            return suite.cases(self.workload.id, tier=Tier.GENERAL)
        if policy.name == axis_order.SAFETY:
            return suite.cases(self.workload.id, tier=Tier.SAFETY)
        return [case for case in self.golden.cases if axis_order.slice_axis(case.slice) == policy.name]

    def _axis(self, policy: AxisPolicy, cases: Sequence[Case]) -> AxisVerdict:
        """What the baselines are: improvement is measured against the best cheap alternative; captured failures and slices against
        who serves now; what must not be forgotten against the better of base and champion, so that small losses do not add up."""
        if policy.name in (axis_order.FORMAT, axis_order.GOLDEN):
            arms = ["champion", "few_shot", "base"] if self.champion != BASE else ["few_shot", "base"]
        elif policy.name in (axis_order.GENERAL, axis_order.SAFETY):
            arms = ["champion", "base"] if self.champion != BASE else ["base"]
        else:
            arms = ["champion"] if self.champion != BASE else ["base"]
        if policy.name == axis_order.FORMAT:
            if self.champion != BASE:
                arms = ["champion"]
            return self._format(policy, arms, cases)
        asked = {arm: self._outcomes(arm, cases) for arm in [*arms, "challenger"] if self._exists(arm)}
        return self._judged(policy, line_up(asked), self._agreement(arms[0]) if axis_order.is_slice(policy.name) else None)

    def _format(self, policy: AxisPolicy, arms: Sequence[str], cases: Sequence[Case]) -> AxisVerdict:
        """On the cases that ask for a format. Without any there is nothing to lose: reported, with n = 0."""
        challenger = self._graded("challenger", cases)
        asked = [at for at, one in enumerate(challenger) if one.valid_format is not None]
        if not asked:
            return judge_axis.judge(policy=replace(policy, role=Role.REPORTED), baselines={"base": ()}, challenger=())
        formats: dict[str, Sequence[Outcome]] = {}
        for arm in filter(self._exists, [*arms, "challenger"]):
            grades = self._graded(arm, cases)
            formats[arm] = [Outcome(item=cases[at].id, entity=cases[at].entity, right=bool(grades[at].valid_format)) for at in asked]
        return self._judged(policy, line_up(formats), None)

    def _judged(self, policy: AxisPolicy, lined_up: LinedUp, agreement: Agreement | None) -> AxisVerdict:
        baselines = {arm: right for arm, right in lined_up.right.items() if arm != "challenger"}
        challenger = lined_up.right["challenger"]
        return judge_axis.judge(policy=policy, baselines=baselines, challenger=challenger, entities=lined_up.entities, agreement=agreement)

    def _agreement(self, arm: str) -> Agreement:
        """A slice alone has too few differing items to show how alike those of one entity are: all golden items show it."""
        lined_up = line_up({name: self._outcomes(name, self.golden.cases) for name in (arm, "challenger")})
        pairs = zip(lined_up.right["challenger"], lined_up.right[arm], strict=True)
        return measure(differences=[int(new) - int(old) for new, old in pairs], entities=lined_up.entities)

    def _outcomes(self, arm: str, cases: Sequence[Case]) -> list[Outcome]:
        grades = self._graded(arm, cases)
        return [Outcome(item=case.id, entity=case.entity, right=one.right) for case, one in zip(cases, grades, strict=True)]

    def _exists(self, arm: str) -> bool:
        return arm != "few_shot" or bool(self._shots)

    @cached_property
    def _shots(self) -> tuple[Example, ...]:
        """From the challenger's own training set: the fairest prompt that the same corrections could buy."""
        bundle = self.parts.runs.adapter(self.challenger)
        run = self.parts.runs.run(bundle.run) if bundle else None
        found = self.parts.training_sets.snapshot(run.plan.snapshot) if run else None
        return few_shot.choose(examples=found[0].examples, count=self.workload.policy.few_shot) if found else ()

    def _graded(self, arm: str, cases: Sequence[Case]) -> list[Grade]:
        missing = [case for case in cases if (arm, case.id) not in self._grades]
        if missing:
            model = {"base": BASE, "few_shot": BASE, "champion": self.champion, "challenger": self.challenger}[arm]
            shots = self._shots if arm == "few_shot" else ()
            prompts = [few_shot.prompt(messages=case.messages, shots=shots) for case in missing]
            answers = self.parts.answers.ask(model, prompts, max_tokens=self.workload.max_tokens, concurrency=self.parts.concurrency)
            for case, answer in zip(missing, answers, strict=True):
                if answer.status not in ANSWERED or answer.status in (401, 403, 404, 429):
                    raise CannotRun(
                        f"the {arm} arm does not answer: {answer.error or answer.status}",
                        where=model,
                        remedy="The gate is tried again when the server answers.",
                    )
                self._grades[arm, case.id] = grade(case=case, answer=answer.text)
        return [self._grades[arm, case.id] for case in cases]


def _some(cases: Sequence[Case], at_most: int) -> Sequence[Case]:
    """The same ones each time, whatever their age: the smallest hashes of their ids."""
    return sorted(cases, key=lambda case: derive("asked", case.id))[:at_most]


def _entry(record: GateRecord, item: WorkItem, attempts: Attempts, foretold: power.GatePower | None) -> JournalEntry:
    return JournalEntry(
        at=record.at,
        workload=WorkloadId(record.workload),
        kind="gate",
        subject=record.id,
        state=record.decision.verdict,
        reason=record.decision.reason,
        actor=Person(str(item.payload.get("actor", "flywheel"))),
        caused_by=item.caused_by,
        evidence={
            "adapter": record.adapter,
            "champion": record.champion,
            "golden_version": record.golden_version,
            "attempts": asdict(attempts),
            "foretold": None if foretold is None else _foretold(foretold),
            "axes": [_axis(axis) for axis in record.decision.axes],
            "not_judged": list(record.decision.not_judged),
        },
    )


def _foretold(power_before: power.GatePower) -> Mapping[str, object]:
    axes = [{**asdict(axis), "chance": round(axis.chance, 4)} for axis in power_before.axes]
    return {"chance": round(power_before.chance, 4), "reason": power_before.reason, "axes": axes}


def _axis(axis: AxisVerdict) -> Mapping[str, object]:
    """Every field of the verdict: what the reader needs to judge again."""
    return {**asdict(axis), "baseline": round(axis.baseline, 4), "challenger": round(axis.challenger, 4)}
