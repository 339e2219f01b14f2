"""One row the adapter learns from, exactly as it is served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel.corrections.clusters import asked, normalise
from flywheel.errors import InvalidInput
from flywheel.ids import CorrectionId, WorkloadId, derive, digest_of
from flywheel.regression_suite.golden import messages_of
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


def general_example(*, messages: Sequence[Message], completion: str) -> Example:
    """A general instruction row; its entity is its own prompt, so it collides with nothing but itself."""
    prompt = "\n".join(f"{message.role}: {message.content}" for message in messages)
    return Example(
        id=derive("example", GENERAL, prompt, completion),
        messages=tuple(messages),
        completion=completion,
        entity=f"{GENERAL}-{digest_of(normalise(asked(messages)))[:16]}",
        source=GENERAL,
    )


def general_example_of_row(row: object, *, where: str) -> Example:
    """A row ``{"messages": [...], "completion": "..."}`` of a general file; InvalidInput names what does not fit."""
    if not isinstance(row, Mapping):
        raise InvalidInput("must be a JSON object", where=where, value=type(row).__name__, remedy="Write one object a line.")
    completion = row.get("completion")
    if not isinstance(completion, str) or not completion.strip():
        raise InvalidInput("must be text", where=f"{where}: completion", value=type(completion).__name__, remedy="Give the right answer.")
    return general_example(messages=messages_of(row.get("messages"), where=where), completion=completion)
