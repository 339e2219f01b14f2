"""When are two prompts the same?

In: prompts. Out: keys that are equal when every turn is the same by the workload's rule for text. Whether two answers are the same is
decided in ``flywheel.comparison``; what follows from equal keys is not decided here.
"""

import json
from dataclasses import asdict, replace

from flywheel.comparison import ComparisonPolicy, text_key
from flywheel.corrections.near_duplicates import SYSTEM_ROLES
from flywheel.ids import digest_of
from flywheel.traffic.exchange import Prompt
from flywheel.traffic.message import Json, Message, OtherPart


def prompt_key(prompt: Prompt, *, declared_entity: str = "", comparison: ComparisonPolicy) -> str:
    """Digest of conversation, tools and declared entity: the same last words after other turns are another prompt.

    The order of the tools makes no difference, nor do the ids of calls and the settings of the request.
    """
    rule = [asdict(comparison.text), asdict(comparison.strings)]  # keys by two rules are never equal: the ledger lets one in for each
    tools = sorted(_json(tool) for tool in prompt.tools)
    return digest_of(_json([rule, declared_entity, [_turn(message, comparison) for message in prompt.messages], tools]))


def context_key(prompt: Prompt, *, comparison: ComparisonPolicy) -> str:
    """Digest of everything but the user's turns: system text, what the model and tools said, and the tools."""
    return prompt_key(replace(prompt, messages=tuple(one for one in prompt.messages if one.role != "user")), comparison=comparison)


def _turn(message: Message, comparison: ComparisonPolicy) -> list[Json]:
    parts = message.content if isinstance(message.content, tuple) else ()
    return [
        "system" if message.role in SYSTEM_ROLES else message.role,
        message.name,
        text_key(message.text, comparison),
        [part.to_wire() for part in parts if isinstance(part, OtherPart)],
        [[call.name, call.arguments if call.is_broken else call.value] for call in message.tool_calls],
        message.other_calls,
    ]


def _json(value: Json) -> str:
    return json.dumps(value, sort_keys=True)
