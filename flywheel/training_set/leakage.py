"""Does a training row leak from a protected case?

In: examples and protected cases (golden, held-out, general, safety). Out: a report of every leak: same prompt, near-duplicate prompt,
same entity. Dropping rows is not done here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from flywheel.corrections.near_duplicates import JudgedText, NearPrompts, judged
from flywheel.regression_suite.case import Case, Tier
from flywheel.training_set.example import Example


class Touch(StrEnum):
    """What a row shares with a protected case."""

    EXACT = "exact"
    NEAR = "near"
    ENTITY = "entity"


@dataclass(frozen=True, kw_only=True)
class Leak:
    """One row and the closest match among the protected cases."""

    example: str
    touch: Touch
    case: str


@dataclass(frozen=True, kw_only=True)
class LeakageReport:
    """The leaks among ``checked`` rows and ``cases`` protected cases."""

    checked: int
    cases: int
    leaks: tuple[Leak, ...]

    @property
    def clean(self) -> bool:
        """True when no row leaks."""
        return not self.leaks

    def count(self, touch: Touch) -> int:
        """The number of rows with this kind of leak."""
        return sum(leak.touch is touch for leak in self.leaks)


def find(*, examples: Sequence[Example], cases: Iterable[Case], near_duplicate: float) -> LeakageReport:
    """Recurrence cases are trained on by design, so they are ignored."""
    protected = [case for case in cases if case.tier is not Tier.RECURRENCE]
    entities = {case.entity: str(case.id) for case in reversed(protected) if case.entity}
    prompts: dict[JudgedText, str] = {}
    near = NearPrompts(threshold=near_duplicate)
    for case in protected:
        prompts.setdefault(judged(case.messages), str(case.id))
        near.add(str(case.id), case.messages)
    leaks = [leak for example in examples if (leak := _leak(example, entities, prompts, near)) is not None]
    return LeakageReport(checked=len(examples), cases=len(protected), leaks=tuple(leaks))


def _leak(example: Example, entities: dict[str, str], prompts: dict[JudgedText, str], near: NearPrompts) -> Leak | None:
    if (case := prompts.get(judged(example.messages))) is not None:
        return Leak(example=example.id, touch=Touch.EXACT, case=case)
    if found := near.near(example.messages):
        return Leak(example=example.id, touch=Touch.NEAR, case=found[0])
    if (case := entities.get(example.entity)) is not None:
        return Leak(example=example.id, touch=Touch.ENTITY, case=case)
    return None
