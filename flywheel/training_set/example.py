"""One row of the training set."""

from dataclasses import dataclass

from flywheel.ids import CorrectionId, WorkloadId, derive
from flywheel.traffic.message import Message

CORRECTION = "correction"
GENERAL = "general"


@dataclass(frozen=True, kw_only=True)
class Example:
    """A prompt and its correct answer; ``rejected`` is the model's answer, for preference training."""

    id: str
    messages: tuple[Message, ...]
    completion: str
    entity: str
    source: str  # CORRECTION or GENERAL
    correction: CorrectionId | None = None
    rejected: str | None = None


def example_id(workload: WorkloadId, correction: CorrectionId) -> str:
    """The id of a correction's example; also the seed of the surrogates in the example and in its case."""
    return derive("example", workload, correction)
