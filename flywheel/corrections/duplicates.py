"""When are two prompts the same?

In: messages. Out: keys that are equal when every turn is the same by the workload's rule for text. Whether two answers are the same is
decided in ``flywheel.comparison``; what follows from equal keys is not decided here.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict

from flywheel.comparison import ComparisonPolicy, text_key
from flywheel.corrections.clusters import SYSTEM_ROLES
from flywheel.ids import digest_of
from flywheel.traffic.message import Message


def prompt_key(messages: Sequence[Message], *, declared_entity: str = "", comparison: ComparisonPolicy) -> str:
    """Digest of the whole conversation and the declared entity: the same last words after other turns are another prompt."""
    rule = [asdict(comparison.text), asdict(comparison.strings)]  # keys by two rules are never equal: the ledger lets one in for each
    return digest_of(json.dumps([rule, declared_entity, _turns(messages, comparison)]))


def context_key(messages: Sequence[Message], *, comparison: ComparisonPolicy) -> str:
    """Digest of everything but the user's turns: system text, what the model and tools said."""
    return digest_of(json.dumps(_turns([message for message in messages if message.role != "user"], comparison)))


def _turns(messages: Sequence[Message], comparison: ComparisonPolicy) -> list[list[str]]:
    return [["system" if message.role in SYSTEM_ROLES else message.role, text_key(message.text, comparison)] for message in messages]
