"""A case: a prompt and a grader for its answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flywheel.ids import CaseId, CorrectionId, WorkloadId
from flywheel.traffic.exchange import Prompt
from flywheel.traffic.message import Json, Message


class Tier(StrEnum):
    """What the case is for. Only ``golden`` cases represent traffic, so only they can show an improvement."""

    RECURRENCE = "recurrence"  # trained on; the failure must not come back
    HELD_OUT = "held_out"  # captured, never trained
    GOLDEN = "golden"  # representative, frozen before training
    GENERAL = "general"  # what the base model can do and must not forget
    SAFETY = "safety"  # requests to refuse, and harmless ones that must not be refused


@dataclass(frozen=True, kw_only=True)
class Grader:
    """How an answer is graded: ``kind`` names a function of ``grade``, ``expected`` is its argument (JSON values)."""

    kind: str  # "tool_call", "contains", "equals", "refuses", "complies"
    expected: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One item that an arm is asked."""

    id: CaseId
    workload: WorkloadId
    tier: Tier
    messages: tuple[Message, ...]
    grader: Grader
    entity: str
    slice: str = "all"
    correction: CorrectionId | None = None
    reference_answer: str = ""  # a correct answer, shown to people
    verified_by: str = ""
    created_at: datetime | None = None
    tools: tuple[Json, ...] = ()
    settings: Mapping[str, Json] = field(default_factory=dict)  # as ``task_prompt`` leaves them

    @property
    def prompt(self) -> Prompt:
        """What an arm is asked with."""
        return Prompt(messages=self.messages, tools=self.tools, settings=self.settings)
