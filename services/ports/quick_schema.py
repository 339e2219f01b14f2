"""A quick test that a value fits a JSON Schema, for events that are read by the thousand.

In: a schema. Out: a function that is True only for values that fit. False says nothing: jsonschema decides then, and words the fault. A
schema with a keyword that is not known here has no quick test.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

Fits = Callable[[Any], bool]
_NOTES = frozenset({"$schema", "$id", "title", "description", "format"})
"""Keywords that forbid nothing; ``format`` is a note in draft 2020-12."""
_KNOWN = _NOTES | {"type", "enum", "const", "minLength", "maxLength", "pattern", "minimum", "maximum"}
_KNOWN |= {"required", "properties", "additionalProperties", "items", "minItems"}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def quick_test(schema: Mapping[str, Any]) -> Fits | None:
    """None where the schema says more than is known here."""
    tests = _tests(schema)
    if tests is None:
        return None
    return lambda value: all(test(value) for test in tests) if len(tests) != 1 else tests[0](value)


def _tests(schema: Any) -> list[Fits] | None:
    if not isinstance(schema, Mapping) or not schema.keys() <= _KNOWN:
        return None
    tests: list[Fits] = []
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        kinds = frozenset(kind for name in names for kind in _TYPES[name])
        tests.append(lambda value: type(value) in kinds)  # exact: a bool is no integer
    for allowed in (schema.get("enum"), [schema["const"]] if "const" in schema else None):
        if allowed is not None:
            if not all(isinstance(one, str) for one in allowed):
                return None
            texts = frozenset(allowed)
            tests.append(lambda value, texts=texts: type(value) is str and value in texts)  # type: ignore[misc]
    tests += _of_sizes(schema)
    inner = _of_members(schema)
    return None if inner is None else tests + inner


def _of_sizes(schema: Mapping[str, Any]) -> list[Fits]:
    tests: list[Fits] = []
    if "minLength" in schema or "maxLength" in schema:
        least, most = schema.get("minLength", 0), schema.get("maxLength", float("inf"))
        tests.append(lambda value: type(value) is not str or least <= len(value) <= most)
    if "pattern" in schema:
        pattern = re.compile(schema["pattern"])
        tests.append(lambda value: type(value) is not str or pattern.search(value) is not None)
    if "minimum" in schema or "maximum" in schema:
        low, high = schema.get("minimum", float("-inf")), schema.get("maximum", float("inf"))
        tests.append(lambda value: type(value) not in (int, float) or low <= value <= high)
    return tests


def _of_members(schema: Mapping[str, Any]) -> list[Fits] | None:
    """Tests of an object's and a list's members."""
    tests: list[Fits] = []
    if "required" in schema:
        required = frozenset(schema["required"])
        tests.append(lambda value: type(value) is not dict or required <= value.keys())
    members: dict[str, Fits] = {}
    for name, held in schema.get("properties", {}).items():
        if (test := quick_test(held)) is None:
            return None
        members[name] = test
    others = schema.get("additionalProperties", True)
    other = None if isinstance(others, bool) else quick_test(others)
    if not isinstance(others, bool) and other is None:
        return None
    if members or others is not True:

        def fits(value: Any) -> bool:
            if type(value) is not dict:
                return True
            for key, one in value.items():
                test = members.get(key, other)
                if (not test(one)) if test is not None else others is False:
                    return False
            return True

        tests.append(fits)
    if "items" in schema or "minItems" in schema:
        least, of_item = schema.get("minItems", 0), quick_test(schema.get("items", {}))
        if of_item is None:
            return None
        tests.append(lambda value: type(value) is not list or (len(value) >= least and all(map(of_item, value))))
    return tests
