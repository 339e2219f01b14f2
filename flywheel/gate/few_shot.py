"""The best cheap alternative to a fine-tune: the same base with a few correct answers in the prompt.

In: the training set, a case's prompt. Out: the prompt of the baseline arm. Retrieving the nearest examples is not done here.
"""

from collections.abc import Sequence

from flywheel.ids import derive
from flywheel.traffic.message import Message
from flywheel.training_set.example import CORRECTION, Example


def choose(*, examples: Sequence[Example], count: int) -> tuple[Example, ...]:
    """The choice depends on the examples' ids alone, so it is the same for every case and gate on this training set. One an entity."""
    chosen: dict[str, Example] = {}
    for example in sorted(examples, key=lambda each: derive("few-shot", each.id)):
        if example.source == CORRECTION and len(chosen) < count:
            chosen.setdefault(example.entity, example)
    return tuple(chosen.values())


def prompt(*, messages: Sequence[Message], shots: Sequence[Example]) -> tuple[Message, ...]:
    """System text first, then the shots as earlier turns, then the rest of the case."""
    head = [message for message in messages[:1] if message.role == "system"]
    turns: list[Message] = []
    for shot in shots:
        turns += [message for message in shot.messages if message.role != "system"]
        turns.append(Message(role="assistant", content=shot.completion))
    return (*head, *turns, *messages[len(head) :])
