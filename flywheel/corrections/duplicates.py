"""When are two prompts, or two answers, the same?

In: messages and answers. Out: keys that are equal when the texts differ only in case, spaces or the order of JSON keys. What follows
from equal keys is not decided here.
"""

import json
from collections.abc import Sequence

from flywheel.corrections.clusters import normalise
from flywheel.ids import digest_of
from flywheel.traffic.message import Message


def prompt_key(messages: Sequence[Message], *, declared_entity: str = "") -> str:
    """Digest of the normalised user turns and the declared entity: the same words for another tool are another task."""
    turns = "\n".join(message.text for message in messages if message.role == "user")
    return digest_of(f"{len(declared_entity)}:{declared_entity}{normalise(turns)}")


def answer_key(answer: str) -> str:
    """Digest of the normalised answer; JSON answers are equal when their values are, whatever their spaces and key order."""
    try:
        value = json.loads(answer)
    except ValueError:
        return digest_of(normalise(answer))
    return digest_of(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
