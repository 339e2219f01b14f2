"""One row the adapter learns from, exactly as it is served."""

from dataclasses import dataclass

from flywheel.ids import CorrectionId, WorkloadId, derive
from flywheel.traffic.inference import Message

CORRECTION = "correction"
GENERAL = "general"


@dataclass(frozen=True, kw_only=True)
class Example:
    """Prompt and right answer; ``rejected`` is what the model said, for a later preference step."""

    id: str
    messages: tuple[Message, ...]
    completion: str
    entity: str
    source: str  # CORRECTION or GENERAL
    correction: CorrectionId | None = None
    rejected: str | None = None


def example_id(workload: WorkloadId, correction: CorrectionId) -> str:
    """Of the example that a correction becomes; also the seed of its surrogates, in the example and in its case."""
    return derive("example", workload, correction)
