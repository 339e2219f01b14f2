"""Checks values from outside against the JSON Schemas in ``schemas/``.

In: a parsed JSON value and a schema's name. Out: nothing, or InvalidInput with the path of the first fault. A reason never repeats
a text that a user wrote. jsonschema decides and words the fault; what jsonschema-rs accepts, in a hundredth of the time, it
would accept too.
"""

import json
from functools import cache
from typing import Any

import jsonschema_rs

from flywheel.errors import InvalidInput, shortened
from schemas import schema


def check_schema(value: object, name: str, *, at: str, remedy: str) -> None:
    """``name`` as in ``schemas.schema``; ``at`` is the path of ``value``, which begins the path in the error."""
    if _fits(value, name):
        return
    try:
        from jsonschema.exceptions import best_match  # at first use: the import takes a tenth of a second

        error = best_match(_validator(name).iter_errors(value))
    except RecursionError:
        raise InvalidInput("is nested too deeply", where=at, remedy=remedy) from None
    if error is not None:
        path = at + error.json_path.removeprefix("$")
        raise InvalidInput(_reason(error), where=path, value=shortened(error.instance), remedy=remedy)


def _reason(error: Any) -> str:
    """jsonschema's message without the value."""
    match error.validator:
        case "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            return f"lacks {', '.join(missing)}"
        case "additionalProperties" if isinstance(error.schema.get("properties"), dict):
            unknown = sorted(set(error.instance) - set(error.schema["properties"]))
            return f"has unknown keys: {', '.join(name[:40] for name in unknown[:5])}"
        case "type":
            return f"must be of type {json.dumps(error.validator_value)}"
        case "enum" | "const":
            return f"must be {json.dumps(error.validator_value)}"
        case "anyOf":
            return "fits none of the allowed forms: " + " or ".join(json.dumps(form) for form in error.validator_value)
        case "not":
            return f"holds {error.validator_value['title']}"
        case rule:
            return f"breaks {rule}: {json.dumps(error.validator_value)}"


def _fits(value: object, name: str) -> bool:
    """False also where jsonschema-rs cannot tell: for NaN, half a character, or a key that is not a text."""
    try:
        return _quick(name).is_valid(value)
    except ValueError:
        return False


@cache
def _quick(name: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema(name), validate_formats=False)


@cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema(name))
