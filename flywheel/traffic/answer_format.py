"""Is an answer in the form its workload asks for?

In: the answer's text and the workload's JSON Schema (none: any text will do). Out: yes, no, or None where the question
does not arise. Whether the answer is right is not judged here.
"""

import json
from functools import lru_cache
from typing import Any, NoReturn

from jsonschema import Draft202012Validator


def fits(answer: str | None, json_schema: dict[str, object] | None) -> bool | None:
    """None without a schema or without an answer. A code fence around JSON is not JSON: a caller would fail on it."""
    if json_schema is None or answer is None:
        return None
    try:
        value = json.loads(answer, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False
    try:
        return bool(_validator(json.dumps(json_schema, sort_keys=True)).is_valid(value))
    except RecursionError:  # nested deeper than anybody can use
        return False


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    return Draft202012Validator(json.loads(schema))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
