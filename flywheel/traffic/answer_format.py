"""Is an answer in the format of its workload?

In: the answer and the workload's JSON Schema (None: any text). Out: True, False, or None where there is nothing to check. Whether the
answer is correct is not judged here.
"""

import json
from functools import lru_cache
from typing import Any, NoReturn

from jsonschema import Draft202012Validator

from flywheel.traffic.exchange import ModelAnswer


def fits(answer: ModelAnswer | None, json_schema: dict[str, object] | None) -> bool | None:
    """False for a tool call whose arguments are not JSON. Otherwise None without a schema or without an answer. JSON in a code fence is
    not JSON: the client could not parse it."""
    if answer is not None and answer.has_broken_call:
        return False
    if json_schema is None or answer is None:
        return None
    try:
        value = json.loads(answer.text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False
    try:
        return bool(_validator(json.dumps(json_schema, sort_keys=True)).is_valid(value))
    except RecursionError:  # nested too deeply
        return False


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    return Draft202012Validator(json.loads(schema))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
