"""Is the workload ready for a training run: a stable task, enough examples, enough cases to evaluate it?

In: counts of corrections, examples and cases. Out: a Readiness with one finding for each question. Red refuses the run;
a warning is recorded and the run goes on. Counting is not done here.
"""

from dataclasses import dataclass
from enum import StrEnum

from flywheel.training_set.curate import ENOUGH_EXAMPLES


class Light(StrEnum):
    """Green: run. Warn: run with a warning. Red: no run."""

    GREEN = "green"
    WARN = "warn"
    RED = "red"


@dataclass(frozen=True, kw_only=True)
class ReadinessPolicy:
    """Past a ``_red`` value a run would be a waste; past a ``_warn`` value its effect is uncertain."""

    examples_red: int = 8  # fewer do not fill two batches
    examples_warn: int = ENOUGH_EXAMPLES
    contradictions_warn: float = 0.1  # of decided corrections
    contradictions_red: float = 0.5
    knowledge_warn: float = 0.3  # of decided corrections: knowledge gaps belong in sources
    golden_red: int = 20
    golden_warn: int = 200
    safety_warn: int = 20


@dataclass(frozen=True, kw_only=True)
class ReadinessFacts:
    """Counts from the ledger."""

    training_corrections: int  # accepted, not held out
    contradictions: int
    knowledge_gaps: int
    decided: int  # corrections with an outcome
    golden: int
    safety: int
    general: int
    base_found: bool


@dataclass(frozen=True, kw_only=True)
class ReadinessFinding:
    """The answer to one question."""

    question: str
    light: Light
    reason: str


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """``light`` is the worst of the findings."""

    light: Light
    findings: tuple[ReadinessFinding, ...]

    @property
    def reason(self) -> str:
        """The reasons of all findings that are not green."""
        return "; ".join(finding.reason for finding in self.findings if finding.light is not Light.GREEN) or "all green"


def judge(*, facts: ReadinessFacts, policy: ReadinessPolicy) -> Readiness:
    """Red when any finding is red."""
    findings: tuple[ReadinessFinding, ...] = (
        _stability(facts, policy),
        _knowledge(facts, policy),
        _examples(facts, policy),
        _impact(facts, policy),
        _evaluation(facts, policy),
        _base(facts),
    )
    lights = {finding.light for finding in findings}
    worst = Light.RED if Light.RED in lights else Light.WARN if Light.WARN in lights else Light.GREEN
    return Readiness(light=worst, findings=findings)


def _stability(facts: ReadinessFacts, policy: ReadinessPolicy) -> ReadinessFinding:
    share = facts.contradictions / max(facts.decided, 1)
    light = Light.RED if share > policy.contradictions_red else Light.WARN if share > policy.contradictions_warn else Light.GREEN
    return ReadinessFinding(question="task stability", light=light, reason=f"{share:.0%} of the corrections contradict others")


def _knowledge(facts: ReadinessFacts, policy: ReadinessPolicy) -> ReadinessFinding:
    share = facts.knowledge_gaps / max(facts.decided, 1)
    light = Light.WARN if share > policy.knowledge_warn else Light.GREEN
    return ReadinessFinding(question="required knowledge", light=light, reason=f"{share:.0%} of the corrections are knowledge gaps")


def _examples(facts: ReadinessFacts, policy: ReadinessPolicy) -> ReadinessFinding:
    n = facts.training_corrections
    light = Light.RED if n < policy.examples_red else Light.WARN if n < policy.examples_warn else Light.GREEN
    return ReadinessFinding(
        question="available examples", light=light, reason=f"{n} corrections to train on (at least {policy.examples_warn} advised)"
    )


def _impact(facts: ReadinessFacts, policy: ReadinessPolicy) -> ReadinessFinding:
    light = Light.WARN if facts.safety < policy.safety_warn else Light.GREEN
    return ReadinessFinding(question="impact of mistakes", light=light, reason=f"{facts.safety} safety cases guard against harm")


def _evaluation(facts: ReadinessFacts, policy: ReadinessPolicy) -> ReadinessFinding:
    light = Light.RED if facts.golden < policy.golden_red else Light.WARN if facts.golden < policy.golden_warn else Light.GREEN
    reason = (
        f"{facts.golden} frozen golden cases (at least {policy.golden_red}, {policy.golden_warn} advised) and {facts.general} general ones"
    )
    return ReadinessFinding(question="evaluation", light=light, reason=reason)


def _base(facts: ReadinessFacts) -> ReadinessFinding:
    light = Light.GREEN if facts.base_found else Light.RED
    return ReadinessFinding(
        question="base model",
        light=light,
        reason="the base model's files are there" if facts.base_found else "the base model's files are not there: set serving.model",
    )
