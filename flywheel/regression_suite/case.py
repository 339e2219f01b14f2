"""A case: a prompt and what a right answer to it must be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flywheel.ids import CaseId, CorrectionId, WorkloadId
from flywheel.traffic.inference import Message


class Tier(StrEnum):
    """Why the case is asked. Only ``golden`` cases represent traffic and may prove improvement."""

    RECURRENCE = "recurrence"  # trained on; must never come back
    HELD_OUT = "held_out"  # captured, never trained
    GOLDEN = "golden"  # representative, frozen before training
    GENERAL = "general"  # what the base could do and must not forget
    SAFETY = "safety"  # refusals that must stay, and harmless requests that must not be refused


@dataclass(frozen=True, kw_only=True)
class Grader:
    """How an answer is judged. ``kind`` names a function of ``grade``; ``expected`` is its argument (JSON values)."""

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
    reference_answer: str = ""  # a right answer, for the reader
    verified_by: str = ""
    created_at: datetime | None = None
