"""Values of the learning stages for tests, each with one plain default."""

from datetime import UTC, datetime, timedelta

from flywheel.comparison import ComparisonPolicy
from flywheel.corrections.correction import Correction, CorrectionKind, CorrectionState, JoinedCorrection
from flywheel.corrections.duplicates import prompt_key
from flywheel.ids import AdapterName, CaseId, CorrectionId, EventId, RequestId, WorkloadId, derive
from flywheel.regression_suite.case import Case, Grader, Tier
from flywheel.traffic.exchange import Prompt
from flywheel.traffic.inference import Arm, Inference
from flywheel.traffic.message import Message
from flywheel.training_set.example import GENERAL, Example
from services.ports.corrections import KeptCorrection
from tests.exchanges import with_exchange

ROUTER = WorkloadId("router")
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def ask(text: str) -> tuple[Message, ...]:
    return (Message(role="system", content="Reply with one JSON object."), Message(role="user", content=text))


def correction(name: str = "c1", *, corrected: str | None = "the right answer", **changes: object) -> Correction:
    values: dict[str, object] = {
        "id": CorrectionId(name),
        "workload": ROUTER,
        "source": "support-desk",
        "author": "<AUTHOR:00000000>",
        "kind": CorrectionKind.EDIT,
        "created_at": NOON,
        "request_id": RequestId(f"r-{name}"),
        "corrected": corrected,
    }
    return Correction(**(values | changes))  # type: ignore[arg-type]


def joined(
    name: str = "c1",
    prompt: str = "where is my parcel",
    corrected: str | None = "the right answer",
    *,
    original: str | None = "a wrong answer",
    entity: str = "",
    dimensions: dict[str, str] | None = None,
    **changes: object,
) -> JoinedCorrection:
    return JoinedCorrection(
        correction=correction(name, corrected=corrected, **changes),
        messages=ask(prompt),
        original=original,
        entity=entity,
        dimensions=dimensions or {},
        adapter="base",
    )


def kept(
    name: str = "c1",
    prompt: str = "where is my parcel",
    corrected: str | None = "the right answer",
    *,
    state: CorrectionState = CorrectionState.ACCEPTED,
    entity: str = "e1",
    held_out: bool = False,
    after: timedelta = timedelta(0),
    original: str | None = "a wrong answer",
) -> KeptCorrection:
    return KeptCorrection(
        joined=joined(name, prompt, corrected, entity=entity, original=original),
        state=state,
        reason="because",
        decided_at=NOON + after,
        entity=entity,
        held_out=held_out,
        prompt_key=prompt_key(Prompt(messages=ask(prompt)), declared_entity=entity, comparison=ComparisonPolicy()),
    )


def case(name: str, prompt: str, *, tier: Tier = Tier.GOLDEN, entity: str = "golden-entity", grader: Grader | None = None) -> Case:
    return Case(
        id=CaseId(derive("case", name)),
        workload=ROUTER,
        tier=tier,
        messages=ask(prompt),
        grader=grader or Grader(kind="equals", expected={"text": "yes"}),
        entity=entity,
        created_at=NOON,
    )


def general(number: int) -> Example:
    words = ["river", "stone", "violin", "harbour", "cinnamon", "glacier", "meadow", "lantern", "saddle", "orchid", "copper", "walnut"]
    asked = f"Tell me something about the {words[number % 12]} number {number * 7919}"
    identity = derive("general", asked)
    return Example(id=identity, messages=(Message(role="user", content=asked),), completion="ok", entity=identity, source=GENERAL)


def inference(request: str, prompt: str = "where is my parcel", *, answer: str | None = "a wrong answer", **changes: object) -> Inference:
    values: dict[str, object] = {
        "event_id": EventId(f"e-{request}"),
        "request_id": RequestId(request),
        "workload": ROUTER,
        "adapter": AdapterName("base"),
        "arm": Arm.CHAMPION,
        "session": "s",
        "client": "app",
        "occurred_at": NOON,
        "messages": ask(prompt),
        "answer": answer,
        "finish_reason": "stop",
        "status": 200,
        "error": None,
        "latency_ms": 12.0,
    }
    return Inference(**with_exchange(values | changes))  # type: ignore[arg-type]
