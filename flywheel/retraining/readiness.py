"""Is there what a fine-tune needs: a stable task, knowledge that belongs into weights, examples, and a ruler to judge it by?

In: counts of corrections, examples and cases. Out: a Readiness with one finding per question. Red refuses the run;
a warning is written down and goes on. Counting is not done here.
"""

from dataclasses import dataclass
from enum import StrEnum

from flywheel.training_set.curate import ENOUGH_EXAMPLES


class Light(StrEnum):
    """Green goes, warn goes with a note, red stops."""

    GREEN = "green"
    WARN = "warn"
    RED = "red"


@dataclass(frozen=True, kw_only=True)
class ReadinessPolicy:
    """Starting points; below a red line a run would be a waste, below a warning line its effect is uncertain."""

    examples_red: int = 8  # fewer make no batch of their own
    examples_warn: int = ENOUGH_EXAMPLES
    contradictions_warn: float = 0.1  # of decided corrections
    contradictions_red: float = 0.5
    knowledge_warn: float = 0.3  # of decided corrections: these belong into sources
    golden_red: int = 20
    golden_warn: int = 200
    safety_warn: int = 20


@dataclass(frozen=True, kw_only=True)
class ReadinessFacts:
    """As counted in the ledger."""

    training_corrections: int  # accepted, not held out
    contradictions: int
    knowledge_gaps: int
    decided: int  # corrections with an outcome
    golden: int
    safety: int
    general: int
    base_found: bool


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One question's answer."""

    question: str
    light: Light
    reason: str


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """The worst light of its findings."""

    light: Light
    findings: tuple[Finding, ...]

    @property
    def reason(self) -> str:
        """What is not green, in one sentence."""
        return "; ".join(finding.reason for finding in self.findings if finding.light is not Light.GREEN) or "all green"


def judge(*, facts: ReadinessFacts, policy: ReadinessPolicy) -> Readiness:
    """Red when any finding is red."""
    findings: tuple[Finding, ...] = (
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


def _stability(facts: ReadinessFacts, policy: ReadinessPolicy) -> Finding:
    share = facts.contradictions / max(facts.decided, 1)
    light = Light.RED if share > policy.contradictions_red else Light.WARN if share > policy.contradictions_warn else Light.GREEN
    return Finding(question="task stability", light=light, reason=f"{share:.0%} of the corrections contradict others")


def _knowledge(facts: ReadinessFacts, policy: ReadinessPolicy) -> Finding:
    share = facts.knowledge_gaps / max(facts.decided, 1)
    light = Light.WARN if share > policy.knowledge_warn else Light.GREEN
    return Finding(question="required knowledge", light=light, reason=f"{share:.0%} of the corrections are gaps of a source")


def _examples(facts: ReadinessFacts, policy: ReadinessPolicy) -> Finding:
    n = facts.training_corrections
    light = Light.RED if n < policy.examples_red else Light.WARN if n < policy.examples_warn else Light.GREEN
    return Finding(
        question="available examples", light=light, reason=f"{n} corrections to learn from (at least {policy.examples_warn} advised)"
    )


def _impact(facts: ReadinessFacts, policy: ReadinessPolicy) -> Finding:
    light = Light.WARN if facts.safety < policy.safety_warn else Light.GREEN
    return Finding(question="impact of mistakes", light=light, reason=f"{facts.safety} safety cases guard against harm")


def _evaluation(facts: ReadinessFacts, policy: ReadinessPolicy) -> Finding:
    light = Light.RED if facts.golden < policy.golden_red else Light.WARN if facts.golden < policy.golden_warn else Light.GREEN
    reason = (
        f"{facts.golden} frozen golden cases (at least {policy.golden_red}, {policy.golden_warn} advised) and {facts.general} general ones"
    )
    return Finding(question="evaluation", light=light, reason=reason)


def _base(facts: ReadinessFacts) -> Finding:
    light = Light.GREEN if facts.base_found else Light.RED
    return Finding(
        question="base model",
        light=light,
        reason="base files are there" if facts.base_found else "the base model's files are not here: set serving.model",
    )
