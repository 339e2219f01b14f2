"""Gates the adapters that passed the weight parity check: asks all arms the same items, axis by axis, and judges.

Asks the models directly, never through the gateway. Which arms an axis meets and what follows from their answers is decided in
``flywheel.gate``. Does not load adapters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cached_property

import structlog

from flywheel.errors import CannotRun, NotFound
from flywheel.gate import few_shot, power
from flywheel.gate.attempts import Attempts, count_attempts
from flywheel.gate.axes import AxisPolicy, AxisVerdict, GateDecision
from flywheel.gate.axis_order import axes_in_order
from flywheel.gate.decide import decide_in_order, without_asking
from flywheel.gate.documents import axis_document
from flywheel.gate.questions import Baselines, GateArm, cases_of, entities_of, incorrect_answers, judge_cases, unanswerable
from flywheel.ids import BASE, DAEMON, AdapterName, GateId, WorkloadId, derive
from flywheel.journal import JournalEntry, JournalKind
from flywheel.regression_suite.case import Case, Tier
from flywheel.regression_suite.golden import GoldenSet
from flywheel.regression_suite.grade import Grade, grade
from flywheel.retraining.training_run import AdapterBundle
from flywheel.rollout.release import ReleaseState
from flywheel.traffic.attempt_outcome import AttemptOutcome, outcome_of
from flywheel.training_set.example import Example
from services.gatekeeper.wiring import GatedWorkload, GatekeeperParts, champion_of
from services.ports.gate import GateRecord
from services.ports.work_queue import GateCommand, WorkItem

log = structlog.get_logger("gatekeeper")


def ask_for_missing_gates(parts: GatekeeperParts, now: datetime) -> None:
    """Starts a gate for each release that passed the weight parity check and has no gate yet."""
    for workload in parts.workloads:
        for release in parts.releases.releases(workload, open_only=True):
            if release.state is ReleaseState.PROBED and not parts.gates.gates(workload, adapter=release.adapter):
                item = WorkItem(
                    id=derive("work", "gate", release.id),
                    workload=workload,
                    command=GateCommand(adapter=release.adapter, asked_by=DAEMON),
                    caused_by=release.id,
                )
                parts.work.put(item, now=now)


def gate(item: WorkItem[GateCommand], parts: GatekeeperParts, now: datetime) -> GateRecord:
    """Safe to repeat: the gate's id comes from the work item, and answers are kept. Raises CannotRun when an arm does not answer."""
    gate_id = GateId(derive("gate", item.id))
    kept = parts.gates.gate(gate_id)
    if kept is not None:
        return kept
    adapter = item.command.adapter
    workload = parts.workloads.get(item.workload)
    bundle = parts.runs.adapter(adapter)
    if workload is None or bundle is None:
        raise NotFound("there is no such adapter of this workload", where="gate", value=adapter, remedy="See `flywheel release status`.")
    champion = champion_of(parts.releases, item.workload, BASE)
    golden = parts.suite.golden(item.workload)
    attempts, predicted = Attempts(), None
    decision = without_asking(trained_on=bundle.base_digest, served=parts.base_digest(), has_golden_set=golden is not None)
    if decision is None:
        assert golden is not None  # without one the gate is decided without asking
        attempts = count_attempts(
            parts.gates.gates(item.workload),
            adapter=adapter,
            champion=champion,
            golden_version=golden.version,
            planned_challengers=workload.policy.planned_challengers,
        )
        open_gate = _OpenGate(parts=parts, workload=workload, golden=golden, champion=champion, challenger=bundle, attempts=attempts)
        predicted = open_gate.predicted_power()
        log.info(predicted.reason, action="gate_power_predicted", adapter=adapter, chance=round(predicted.chance, 3))
        decision = open_gate.decision()
    record = GateRecord(
        id=gate_id,
        workload=item.workload,
        adapter=adapter,
        champion=champion,
        golden_version=golden.version if golden else 0,
        decision=decision,
        at=now,
    )
    parts.gates.save_gate(record, _entry(record, item, attempts, predicted))
    log.info(f"Gate of {adapter}: {decision.verdict}. {decision.reason}", action="gate_decided", gate=gate_id, adapter=adapter)
    return record


@dataclass(frozen=True, kw_only=True)
class _OpenGate:
    """A gate that is not decided yet, with the grades so far."""

    parts: GatekeeperParts
    workload: GatedWorkload
    golden: GoldenSet
    champion: AdapterName
    challenger: AdapterBundle
    attempts: Attempts
    _grades: dict[tuple[GateArm, str], Grade] = field(default_factory=dict)
    _left_out: set[str] = field(default_factory=set)

    def decision(self) -> GateDecision:
        decision = decide_in_order(axes=self._axes, judge=self._judge, has_items=lambda policy: bool(self._cases(policy)))
        of_challenger = {case: one for (arm, case), one in self._grades.items() if arm is GateArm.CHALLENGER and case not in self._left_out}
        return replace(decision, unanswerable=tuple(sorted(self._left_out)), incorrect=incorrect_answers(of_challenger))

    def predicted_power(self) -> power.GatePower:
        """Predicts power from the numbers of cases, before any arm is queried."""
        return power.predict(axes=self._axes, entities={axis.name: entities_of(axis.name, self._cases(axis)) for axis in self._axes})

    @cached_property
    def _axes(self) -> Sequence[AxisPolicy]:
        return axes_in_order(policy=self.workload.policy, protected=self.workload.protected, attempts=self.attempts)

    def _judge(self, policy: AxisPolicy) -> AxisVerdict | None:
        cases = self._cases(policy)
        baselines = Baselines(champion=self.champion != BASE, few_shot=bool(self._shots))
        self._left_out.update(unanswerable(policy.name, cases=cases, baselines=baselines, grades_of=self._grades_of))
        return judge_cases(policy=policy, cases=cases, golden=self.golden.cases, baselines=baselines, grades_of=self._grades_of)

    def _cases(self, policy: AxisPolicy) -> Sequence[Case]:
        def of_tier(tier: Tier) -> Sequence[Case]:
            return self.parts.suite.cases(self.workload.id, tier=tier)

        return cases_of(policy.name, golden=self.golden.cases, of_tier=of_tier, policy=self.workload.policy)

    @cached_property
    def _shots(self) -> tuple[Example, ...]:
        """From the challenger's own training set: the fairest prompt that the same corrections could buy."""
        run = self.parts.runs.run(self.challenger.run)
        found = self.parts.training_sets.snapshot(run.plan.snapshot) if run else None
        return few_shot.choose(examples=found[0].examples, count=self.workload.policy.few_shot) if found else ()

    def _grades_of(self, arm: GateArm, cases: Sequence[Case]) -> Sequence[Grade]:
        """Each item is asked once of each arm."""
        missing = [case for case in cases if (arm, case.id) not in self._grades]
        if missing:
            model = {GateArm.CHAMPION: self.champion, GateArm.CHALLENGER: self.challenger.name}.get(arm, BASE)
            shots = self._shots if arm is GateArm.FEW_SHOT else ()
            prompts = [few_shot.with_shots(case.prompt, shots=shots) for case in missing]
            answers = self.parts.answers.ask(model, prompts, max_tokens=self.workload.max_tokens, concurrency=self.parts.concurrency)
            for case, answer in zip(missing, answers, strict=True):
                outcome = outcome_of(answer.status)
                if outcome not in (AttemptOutcome.OK, AttemptOutcome.CLIENT_ERROR):
                    raise CannotRun(
                        f"the {arm} arm does not answer: {answer.error or answer.status}",
                        where=model,
                        remedy="The gate is tried again when the server answers.",
                    )
                found = grade(case=case, answer=answer.text, comparison=self.workload.comparison)
                self._grades[arm, case.id] = replace(found, refused=outcome is AttemptOutcome.CLIENT_ERROR)
            refused = [case for case in missing if self._grades[arm, case.id].refused]
            if shots and refused:  # perhaps the shots do not fit
                without = self._grades_of(GateArm.BASE, refused)
                self._grades.update({(arm, case.id): one for case, one in zip(refused, without, strict=True)})
        return [self._grades[arm, case.id] for case in cases]


def _entry(record: GateRecord, item: WorkItem[GateCommand], attempts: Attempts, predicted: power.GatePower | None) -> JournalEntry:
    """The keys are those of the first release: ``foretold`` is the predicted power."""
    return JournalEntry(
        at=record.at,
        workload=WorkloadId(record.workload),
        kind=JournalKind.GATE,
        subject=record.id,
        state=record.decision.verdict,
        reason=record.decision.reason,
        actor=item.command.asked_by,
        caused_by=item.caused_by,
        evidence={
            "adapter": record.adapter,
            "champion": record.champion,
            "golden_version": record.golden_version,
            "attempts": asdict(attempts),
            "foretold": None if predicted is None else _power(predicted),
            "axes": [_axis(axis) for axis in record.decision.axes],
            "not_judged": list(record.decision.not_judged),
            "unanswerable": list(record.decision.unanswerable),
            "incorrect": [asdict(answer) for answer in record.decision.incorrect],
        },
    )


def _power(predicted: power.GatePower) -> Mapping[str, object]:
    axes = [{**asdict(axis), "chance": round(axis.chance, 4)} for axis in predicted.axes]
    return {"chance": round(predicted.chance, 4), "reason": predicted.reason, "axes": axes}


def _axis(axis: AxisVerdict) -> Mapping[str, object]:
    return {**axis_document(axis), "baseline": round(axis.baseline, 4), "challenger": round(axis.challenger, 4)}
