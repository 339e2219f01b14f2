"""The best cheap alternative to a fine-tune: the same base with a few correct answers in the prompt.

In: the training set, a case's prompt. Out: the prompt of the baseline arm. Retrieving the nearest examples is not done here.
"""

from collections.abc import Sequence
from dataclasses import replace

from flywheel.corrections.near_duplicates import SYSTEM_ROLES
from flywheel.ids import derive
from flywheel.traffic.exchange import Prompt
from flywheel.traffic.message import Message
from flywheel.training_set.example import CORRECTION, Example


def choose(*, examples: Sequence[Example], count: int) -> tuple[Example, ...]:
    """The choice depends on the examples' ids alone, so it is the same for every case and gate on this training set. One an entity."""
    chosen: dict[str, Example] = {}
    for example in sorted(examples, key=lambda each: derive("few-shot", each.id)):
        if example.source == CORRECTION and len(chosen) < count:
            chosen.setdefault(example.entity, example)
    return tuple(chosen.values())


def with_shots(prompt: Prompt, *, shots: Sequence[Example]) -> Prompt:
    """System text first, then the shots as earlier turns, then the rest of the case. The tools are the case's."""
    head = [message for message in prompt.messages[:1] if message.role in SYSTEM_ROLES]
    turns: list[Message] = []
    for shot in shots:
        turns += [message for message in shot.messages if message.role not in SYSTEM_ROLES]
        turns.append(shot.answer)
    return replace(prompt, messages=(*head, *turns, *prompt.messages[len(head) :]))
