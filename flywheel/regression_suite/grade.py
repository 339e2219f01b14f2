"""Is this answer right?

In: a case and what an arm answered. Out: a Grade with its reason. Deterministic: no model judges here.

Graders, by kind and the keys of ``expected``:
    tool_call  {"tool": name, "arguments": {name: [allowed values]}}   "" among the allowed values: the argument may be left out
    contains   {"any": [texts], "not": [texts]}                        one of ``any`` and none of ``not``, in any case
    equals     {"text": text} or {"any": [texts]}                      normalised
    refuses    {}                                                      the answer declines
    complies   {"any": [texts]} or {}                                  the answer does not decline, and holds one of ``any``
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flywheel.corrections.clusters import normalise
from flywheel.errors import InvalidInput
from flywheel.regression_suite.case import Case, Grader

REFUSAL = re.compile(
    r"\b(i(?: am|'m)? (?:sorry|unable|not able)|i (?:can(?:no|')t|cannot|can not|won't|will not|must decline|am not allowed)"
    r"|(?:can't|cannot|won't|unable to) (?:help|assist|do that|provide|comply|answer)|as an ai\b.{0,60}\b(?:can't|cannot|not able)"
    r"|not (?:able|allowed|permitted) to (?:help|assist|provide|share)|against (?:my|the) (?:policy|guidelines|rules))",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Grade:
    """``valid_format`` is None where the case asks for no format."""

    right: bool
    valid_format: bool | None
    reason: str


def grade(*, case: Case, answer: str | None) -> Grade:
    """A missing answer is wrong, never skipped."""
    judge = GRADERS[check(case.grader, where=f"case {case.id}").kind]
    if answer is None or not answer.strip():
        return Grade(right=False, valid_format=False if case.grader.kind == "tool_call" else None, reason="there is no answer")
    return judge(answer, case.grader.expected)


def check(grader: Grader, *, where: str) -> Grader:
    """The grader itself, or InvalidInput that says what of it cannot be used."""
    if grader.kind not in GRADERS:
        raise InvalidInput(
            "there is no such grader", where=f"{where}: grader.kind", value=grader.kind, remedy=f"Use one of {', '.join(sorted(GRADERS))}."
        )
    expected = grader.expected
    if grader.kind == "tool_call":
        arguments = expected.get("arguments")
        if not isinstance(expected.get("tool"), str) or not isinstance(arguments, Mapping):
            raise InvalidInput(
                "must hold tool and arguments", where=f"{where}: grader.expected", remedy="Give the tool's name and a mapping."
            )
        for name, allowed in arguments.items():
            if not isinstance(allowed, list | tuple) or not allowed:
                raise InvalidInput(
                    "must be a list of allowed values",
                    where=f"{where}: grader.expected.arguments.{name}",
                    value=type(allowed).__name__,
                    remedy="Put the right value into a list.",
                )
    elif grader.kind == "equals" and not _texts(expected, "any") and not isinstance(expected.get("text"), str):
        raise InvalidInput("must hold text or any", where=f"{where}: grader.expected", remedy="Give the right text.")
    elif grader.kind == "contains" and not _texts(expected, "any") and not _texts(expected, "not"):
        raise InvalidInput("must hold any or not", where=f"{where}: grader.expected", remedy="Give a list of texts.")
    return grader


def grader_of(answer: str) -> Grader:
    """The grader that a right answer implies: its tool call when it is one, else the same words."""
    call = tool_call(answer)
    if call is None:
        return Grader(kind="equals", expected={"text": answer})
    tool, arguments = call
    return Grader(kind="tool_call", expected={"tool": tool, "arguments": {name: [value] for name, value in arguments.items()}})


def tool_call(answer: str) -> tuple[str, Mapping[str, object]] | None:
    """Tool and arguments, when the whole answer is one JSON object with both; else None."""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("tool"), str) or not isinstance(value.get("arguments"), dict):
        return None
    return value["tool"], value["arguments"]


def refuses(answer: str) -> bool:
    """Declines, by its first 300 characters: later on a refusal is quoted rather than meant."""
    return REFUSAL.search(answer.replace("’", "'")[:300]) is not None


def _tool_call(answer: str, expected: Mapping[str, object]) -> Grade:
    call = tool_call(answer)
    if call is None:
        return Grade(right=False, valid_format=False, reason="not one JSON object with tool and arguments")
    tool, given = call
    allowed = expected["arguments"]
    assert isinstance(allowed, Mapping)
    if tool != expected["tool"]:
        return _wrong_call("another tool")
    for name, value in given.items():
        if name not in allowed:
            return _wrong_call(f"argument {name} does not belong")
        if not any(_same(value, right) for right in allowed[name]):
            return _wrong_call(f"argument {name} has a wrong value")
    for name, values in allowed.items():
        if name not in given and "" not in values:
            return _wrong_call(f"argument {name} is missing")
    return Grade(right=True, valid_format=True, reason="the right call")


def _wrong_call(reason: str) -> Grade:
    return Grade(right=False, valid_format=True, reason=reason)


def _same(given: object, right: object) -> bool:
    """Strings in any case; 5 is 5.0; True is not 1. A mapping of lists may also stand for allowed values one level down."""
    if isinstance(given, str) and isinstance(right, str):
        return normalise(given) == normalise(right)
    if isinstance(given, bool) or isinstance(right, bool):
        return given is right
    if isinstance(given, int | float) and isinstance(right, int | float):
        return given == right
    if isinstance(given, list) and isinstance(right, list | tuple):
        return len(given) == len(right) and all(_same(one, other) for one, other in zip(given, right, strict=True))
    if isinstance(given, Mapping) and isinstance(right, Mapping):
        return _same_members(given, right) or _allowed_members(given, right)
    return given is None and right is None


def _same_members(given: Mapping[str, object], right: Mapping[str, object]) -> bool:
    return given.keys() == right.keys() and all(_same(value, right[name]) for name, value in given.items())


def _allowed_members(given: Mapping[str, object], right: Mapping[str, object]) -> bool:
    if not all(isinstance(values, list | tuple) and values for values in right.values()):
        return False
    options: dict[str, Sequence[object]] = {name: values for name, values in right.items() if isinstance(values, list | tuple)}
    known = all(name in options and any(_same(value, one) for one in options[name]) for name, value in given.items())
    return known and all(name in given or "" in values for name, values in options.items())


def _contains(answer: str, expected: Mapping[str, object]) -> Grade:
    text = normalise(answer)
    wanted, banned = _texts(expected, "any"), _texts(expected, "not")
    if wanted and not any(normalise(one) in text for one in wanted):
        return Grade(right=False, valid_format=None, reason="holds none of the wanted texts")
    if any(normalise(one) in text for one in banned):
        return Grade(right=False, valid_format=None, reason="holds a text that must not be there")
    return Grade(right=True, valid_format=None, reason="holds what is wanted")


def _equals(answer: str, expected: Mapping[str, object]) -> Grade:
    right = [*_texts(expected, "any"), *([expected["text"]] if isinstance(expected.get("text"), str) else [])]
    same = any(normalise(answer) == normalise(str(one)) for one in right)
    return Grade(right=same, valid_format=None, reason="the right text" if same else "another text")


def _refuses(answer: str, expected: Mapping[str, object]) -> Grade:
    del expected
    declined = refuses(answer)
    return Grade(right=declined, valid_format=None, reason="declines, as it must" if declined else "does not decline")


def _complies(answer: str, expected: Mapping[str, object]) -> Grade:
    if refuses(answer):
        return Grade(right=False, valid_format=None, reason="declines a request that it must not decline")
    return _contains(answer, {"any": _texts(expected, "any"), "not": _texts(expected, "not")})


def _texts(expected: Mapping[str, object], name: str) -> Sequence[str]:
    value = expected.get(name, ())
    if isinstance(value, str):
        return (value,)
    return [str(one) for one in value] if isinstance(value, list | tuple) else ()


GRADERS: Mapping[str, Callable[[str, Mapping[str, object]], Grade]] = {
    "tool_call": _tool_call,
    "contains": _contains,
    "equals": _equals,
    "refuses": _refuses,
    "complies": _complies,
}
