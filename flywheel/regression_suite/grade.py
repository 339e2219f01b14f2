"""Is this answer correct?

In: a case, an arm's answer, the workload's rule for "the same". Out: a Grade with its reason. Deterministic: no model judges here.

Graders, by kind and the keys of ``expected``:
    tool_call  {"tool": name, "arguments": {name: [allowed values]}}   "" among the allowed values: the argument may be left out
               {"calls": [{"tool", "arguments"}, ...], "order": "free" or "fixed"}   without ``order``: as the workload says
    contains   {"any": [texts], "not": [texts]}                        one of ``any`` and none of ``not``
    equals     {"text": text} or {"any": [texts]}                      the same text, or the same JSON values
    refuses    {}                                                      the answer declines
    complies   {"any": [texts]} or {}                                  the answer does not decline, and contains one of ``any``
With ``"exact": true`` case, white space and quotes count, whatever the workload says.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flywheel.comparison import (
    ComparisonPolicy,
    Similarity,
    WantedCall,
    calls_of,
    canonical,
    compare,
    compare_calls,
    structured,
    value_similarity,
)
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
    """``valid_format`` is None when the case requires no format. ``arguments``: the score of each argument of a tool call, 0 to 1.

    ``refused``: the server refused the request as the client's error, so there is no answer.
    """

    correct: bool
    valid_format: bool | None
    reason: str
    arguments: Mapping[str, float] = field(default_factory=dict)
    refused: bool = False


def grade(*, case: Case, answer: str | None, comparison: ComparisonPolicy) -> Grade:
    """A missing answer is incorrect, never skipped. ``comparison`` is the workload's."""
    grader = case.grader
    if answer is None or not answer.strip():
        return Grade(correct=False, valid_format=False if grader.kind == "tool_call" else None, reason="there is no answer")
    return GRADERS[grader.kind](answer, grader.expected, comparison.exact if grader.expected.get("exact") is True else comparison)


def check_grader(grader: Grader, *, where: str) -> Grader:
    """Returns the grader of an imported row; raises InvalidInput when its kind or ``expected`` cannot be used."""
    if grader.kind not in GRADERS:
        raise InvalidInput(
            "there is no such grader", where=f"{where}: grader.kind", value=grader.kind, remedy=f"Use one of {', '.join(sorted(GRADERS))}."
        )
    expected, place = grader.expected, f"{where}: grader.expected"
    if not isinstance(expected.get("exact", False), bool):
        raise InvalidInput("must be true or false", where=f"{place}.exact", value=expected["exact"], remedy="Correct it or leave it out.")
    if grader.kind == "tool_call":
        _check_calls(expected, place)
    elif grader.kind == "equals" and not _texts(expected, "any") and not isinstance(expected.get("text"), str):
        raise InvalidInput("must have text or any", where=place, remedy="Give the correct text.")
    elif grader.kind == "contains" and not _texts(expected, "any") and not _texts(expected, "not"):
        raise InvalidInput("must have any or not", where=place, remedy="Give a list of texts.")
    return grader


def grader_of(answer: str, *, original: str | None, comparison: ComparisonPolicy) -> Grader:
    """The grader for a correct answer: the same tool calls when it is some, else the same text.

    It is exact where the workload's rule cannot tell the model's ``original`` answer, which is incorrect, from the correct one.
    """
    calls = calls_of(structured(answer))
    kind, expected = "equals", dict[str, object](text=answer)
    if calls is not None:
        wanted: list[dict[str, object]] = [
            {"tool": tool, "arguments": {name: [value] for name, value in given.items()}} for tool, given in calls
        ]
        kind, expected = "tool_call", wanted[0] if len(wanted) == 1 else {"calls": wanted}
    if original is not None and compare(original, answer, comparison).same:
        expected["exact"] = True
    return Grader(kind=kind, expected=expected)


def refuses(answer: str) -> bool:
    """True when the first 300 characters decline; later ones mostly quote a refusal."""
    return REFUSAL.search(answer.replace("’", "'")[:300]) is not None


def _tool_call(answer: str, expected: Mapping[str, object], comparison: ComparisonPolicy) -> Grade:
    given = calls_of(structured(answer))
    if given is None:
        return Grade(correct=False, valid_format=False, reason="not JSON with tool and arguments")
    if expected.get("order") in ("free", "fixed"):
        comparison = replace(comparison, calls_in_order=expected["order"] == "fixed")
    found = compare_calls(given, _wanted(expected), comparison, similarity=lambda value, option: _option(value, option, comparison))
    return Grade(correct=found.same, valid_format=True, reason=found.reason, arguments=found.arguments)


def _wanted(expected: Mapping[str, object]) -> list[WantedCall]:
    """The calls of a checked grader."""
    listed = expected.get("calls", [expected])
    assert isinstance(listed, list | tuple)
    return [
        WantedCall(
            tool=one["tool"],
            arguments=one["arguments"],
            optional=frozenset(name for name, allowed in one["arguments"].items() if "" in allowed),
        )
        for one in listed
    ]


def _check_calls(expected: Mapping[str, object], where: str) -> None:
    listed = expected.get("calls", [expected])
    if not isinstance(listed, list | tuple) or not listed:
        raise InvalidInput("must be a list of calls", where=f"{where}.calls", remedy="Give each call's tool and arguments.")
    if expected.get("order", "free") not in ("free", "fixed"):
        raise InvalidInput("must be free or fixed", where=f"{where}.order", value=expected["order"], remedy="Correct it or leave it out.")
    for at, call in enumerate(listed):
        place = f"{where}.calls[{at}]" if "calls" in expected else where
        arguments = call.get("arguments") if isinstance(call, Mapping) else None
        if not isinstance(arguments, Mapping) or not isinstance(call.get("tool"), str):
            raise InvalidInput("must have tool and arguments", where=place, remedy="Give the tool's name and a mapping.")
        for name, allowed in arguments.items():
            if not isinstance(allowed, list | tuple) or not allowed:
                raise InvalidInput(
                    "must be a list of allowed values",
                    where=f"{place}.arguments.{name}",
                    value=type(allowed).__name__,
                    remedy="Put the correct value in a list.",
                )


def _option(given: object, option: object, comparison: ComparisonPolicy) -> Similarity:
    same, score = value_similarity(given, option, comparison)
    return (True, 1.0) if same or _allows(option, given, comparison) else (False, score)


def _allows(option: object, given: object, comparison: ComparisonPolicy) -> bool:
    """A mapping of lists may also list allowed values one level down, at any depth."""
    if isinstance(given, list) and isinstance(option, list | tuple):
        return len(given) == len(option) and all(_allows(other, one, comparison) for one, other in zip(given, option, strict=True))
    if isinstance(given, Mapping) and isinstance(option, Mapping):
        if given.keys() == option.keys() and all(_allows(option[name], value, comparison) for name, value in given.items()):
            return True
        if not all(isinstance(values, list | tuple) and values for values in option.values()):
            return False
        known = all(name in option and any(_allows(one, value, comparison) for one in option[name]) for name, value in given.items())
        return known and all(name in given or "" in values for name, values in option.items())
    return value_similarity(given, option, comparison)[0]


def _contains(answer: str, expected: Mapping[str, object], comparison: ComparisonPolicy) -> Grade:
    text = canonical(answer, comparison.text)
    wanted, banned = ([canonical(one, comparison.text) for one in _texts(expected, name)] for name in ("any", "not"))
    if wanted and not any(one in text for one in wanted):
        return Grade(correct=False, valid_format=None, reason="contains none of the expected texts")
    if any(one in text for one in banned):
        return Grade(correct=False, valid_format=None, reason="contains a text that must not be there")
    return Grade(correct=True, valid_format=None, reason="contains an expected text and no excluded one")


def _equals(answer: str, expected: Mapping[str, object], comparison: ComparisonPolicy) -> Grade:
    allowed = [*_texts(expected, "any"), *([expected["text"]] if isinstance(expected.get("text"), str) else [])]
    found = [compare(answer, str(one), comparison) for one in allowed]
    best = max(found, key=lambda one: (one.same, one.score))
    return Grade(correct=best.same, valid_format=None, reason=best.reason)


def _refuses(answer: str, expected: Mapping[str, object], comparison: ComparisonPolicy) -> Grade:
    del expected, comparison
    declined = refuses(answer)
    return Grade(correct=declined, valid_format=None, reason="declines, as expected" if declined else "does not decline")


def _complies(answer: str, expected: Mapping[str, object], comparison: ComparisonPolicy) -> Grade:
    if refuses(answer):
        return Grade(correct=False, valid_format=None, reason="declines a request that it must not decline")
    return _contains(answer, {"any": _texts(expected, "any"), "not": _texts(expected, "not")}, comparison)


def _texts(expected: Mapping[str, object], name: str) -> Sequence[str]:
    value = expected.get(name, ())
    if isinstance(value, str):
        return (value,)
    return [str(one) for one in value] if isinstance(value, list | tuple) else ()


GRADERS: Mapping[str, Callable[[str, Mapping[str, object], ComparisonPolicy], Grade]] = {
    "tool_call": _tool_call,
    "contains": _contains,
    "equals": _equals,
    "refuses": _refuses,
    "complies": _complies,
}
