"""One row of the training set."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flywheel.comparison import calls_of, structured
from flywheel.ids import CorrectionId, WorkloadId, derive
from flywheel.traffic.exchange import Prompt
from flywheel.traffic.message import Json, Message, ToolCall

CORRECTION = "correction"
GENERAL = "general"


@dataclass(frozen=True, kw_only=True)
class Example:
    """A prompt and its correct answer. ``completion``: its text, or its tool calls as ``calls_as_text`` writes them.

    ``rejected`` is the model's answer, for preference training.
    """

    id: str
    messages: tuple[Message, ...]
    completion: str
    entity: str
    source: str  # CORRECTION or GENERAL
    correction: CorrectionId | None = None
    rejected: str | None = None
    tools: tuple[Json, ...] = ()
    settings: Mapping[str, Json] = field(default_factory=dict)  # as ``task_prompt`` leaves them

    @property
    def prompt(self) -> Prompt:
        """What the model is asked with."""
        return Prompt(messages=self.messages, tools=self.tools, settings=self.settings)

    @property
    def answer(self) -> Message:
        """What the model should write."""
        return answer_message(self.completion, tools=self.tools)


def example_id(workload: WorkloadId, correction: CorrectionId) -> str:
    """The id of a correction's example; also the seed of the surrogates in the example and in its case."""
    return derive("example", workload, correction)


def answer_message(text: str, *, tools: Sequence[Json]) -> Message:
    """The assistant's message: tool calls where the text is calls of functions that the request offers, else the text."""
    offered = {tool["function"].get("name") for tool in tools if isinstance(tool, dict) and isinstance(tool.get("function"), dict)}
    calls = calls_of(structured(text)) if offered else None
    if not calls or any(name not in offered for name, _ in calls):
        return Message(role="assistant", content=text)
    return Message(
        role="assistant",
        tool_calls=tuple(
            ToolCall(id=f"call{number:05d}", name=name, arguments=json.dumps(dict(arguments), ensure_ascii=False))
            for number, (name, arguments) in enumerate(calls, start=1)
        ),
    )
