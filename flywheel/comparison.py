"""Are two answers the same? One rule for graders, diagnosis, duplicates and near-duplicates.

In: two answers as text (what a model said, what a person wrote) and the workload's policy. Out: a Comparison: same or not, with a score for
each argument of a tool call. What follows from it is not decided here. Nothing raises, and time is linear in the texts' length.

One JSON object or list is a structured answer and is compared by value: numbers as numbers, strings by ``strings``, key order free. A
structured answer with ``tool`` and ``arguments``, or a list of them, is compared call by call. Everything else is text and is compared by
``text``, its fenced code by ``strings``. White space at either end of an answer never counts, nor whether lines end with CRLF or LF.
JSON that is broken, has a key twice, holds NaN or is nested deeper than MAX_DEPTH is text. Half a character counts as U+FFFD.
"""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

Call = tuple[str, Mapping[str, object]]
"""A tool's name and its arguments, JSON values by name."""
Similarity = tuple[bool, float]
"""Same or not, and the share that is the same, 0 to 1. The share alone does not decide: rounded, it may be 1 for two large values."""

MAX_DEPTH = 100
MATCHED_CALLS = 64  # of more calls the n-th is compared with the n-th: the best matching costs the cube of their number
_MARKS_AT_ONCE = 30  # as in Unicode's stream-safe text: normalising a run of combining marks costs the square of its length
_MARKS = re.compile(rf"[^\w\s\x00-\x7f]{{{_MARKS_AT_ONCE + 1},}}")
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)
_HALF = re.compile("[\ud800-\udfff]")
_FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d[\d:.,+Zz-]{0,24}")
_QUOTES = str.maketrans({**dict.fromkeys("“”„‟«»″", '"'), **dict.fromkeys("‘’‚‛‹›′`´", "'")})


@dataclass(frozen=True, kw_only=True)
class TextRule:
    """Which differences between two texts do not count."""

    ignore_case: bool
    ignore_white_space: bool  # a run of it is one space: line breaks and indentation make no difference
    ignore_quotes: bool  # “ and « are ", ’ and ` are '
    unicode: Literal["NFC", "NFKC"]  # NFKC: full-width letters, ligatures and ² are the plain characters too


EXACT = TextRule(ignore_case=False, ignore_white_space=False, ignore_quotes=False, unicode="NFC")
LENIENT = TextRule(ignore_case=True, ignore_white_space=True, ignore_quotes=False, unicode="NFKC")


@dataclass(frozen=True, kw_only=True)
class ComparisonPolicy:
    """When two answers of a workload are the same."""

    text: TextRule = LENIENT  # free text
    strings: TextRule = EXACT  # strings in structured answers and in arguments of tool calls; fenced code
    number_tolerance: float = 1e-9  # relative; two whole numbers are compared exactly, because they may be ids
    times_by_instant: bool = False  # two ISO 8601 times in structured answers are the same when they name one instant
    calls_in_order: bool = False  # several tool calls are the same in the same order only
    exact_fixes: bool = True  # a fix of nothing but capitals, line breaks or quotes is a fix, though graders may ignore them

    @property
    def exact(self) -> "ComparisonPolicy":
        """Every visible difference between two texts counts."""
        return replace(self, text=EXACT, strings=EXACT)

    @property
    def of_fixes(self) -> "ComparisonPolicy":
        """For a fix against the model's answer, and for two fixes of one prompt."""
        return self.exact if self.exact_fixes else self


@dataclass(frozen=True, kw_only=True)
class WantedCall:
    """A correct call: its tool and the allowed values of each argument. An ``optional`` argument may be left out."""

    tool: str
    arguments: Mapping[str, Sequence[object]]
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """``arguments``: the score of each argument of a tool call; of several calls by number, as ``1.city``."""

    same: bool
    score: float
    reason: str
    arguments: Mapping[str, float] = field(default_factory=dict)


def compare(given: str, expected: str, policy: ComparisonPolicy) -> Comparison:
    """Two answers, as text."""
    left, right = structured(given), structured(expected)
    if left is None or right is None:
        if left is not None or right is not None:
            return Comparison(same=False, score=0.0, reason="one is a structured answer, the other is text")
        same = text_key(given, policy) == text_key(expected, policy)
        return Comparison(same=same, score=float(same), reason="the same text" if same else "another text")
    calls, wanted = calls_of(left), calls_of(right)
    if calls is not None and wanted is not None:
        exactly = [WantedCall(tool=tool, arguments={name: [value] for name, value in arguments.items()}) for tool, arguments in wanted]
        return compare_calls(calls, exactly, policy, similarity=lambda one, other: value_similarity(one, other, policy))
    same, score = value_similarity(left, right, policy)
    return Comparison(same=same, score=score, reason="the same values" if same else "other values")


def canonical(text: str, rule: TextRule) -> str:
    """The text without the differences that do not count: two texts are the same when these are equal."""
    text = _normalised(text, rule.unicode).replace("\r\n", "\n")
    if rule.ignore_quotes:
        text = text.translate(_QUOTES)
    if rule.ignore_case:
        text = text.casefold()
    return " ".join(text.split()) if rule.ignore_white_space else text


def text_key(text: str, policy: ComparisonPolicy) -> str:
    """Equal for two free texts that are the same. Every second piece between fences is code."""
    pieces = _FENCE.split(text.strip())
    return "\n```".join(
        canonical(*((piece, policy.strings) if at % 2 else (piece.strip(), policy.text))) for at, piece in enumerate(pieces)
    )


def structured(answer: str) -> dict[str, object] | list[object] | None:
    """The object or list that the answer is; None when it is text."""
    text = answer.strip()
    if not text.startswith(("{", "[")):
        return None
    if "\\u" in text:
        text = _ESCAPE.sub(lambda found: r"\ufffd" if found.group(1) else found.group(0), text)
    try:
        value = json.loads(_HALF.sub("\ufffd", text), parse_constant=_refuse, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) and not _too_deep(value) else None


def calls_of(value: object) -> tuple[Call, ...] | None:
    """The tool calls that a structured answer is: one, or a list of them. None when it is anything else."""
    found = value if isinstance(value, list) and value else [value]
    calls = [
        (one["tool"], one["arguments"])
        for one in found
        if isinstance(one, dict) and isinstance(one.get("tool"), str) and isinstance(one.get("arguments"), dict)
    ]
    return tuple(calls) if len(calls) == len(found) else None


def value_similarity(given: object, expected: object, policy: ComparisonPolicy) -> Similarity:
    """Two JSON values. A list is compared place by place; True is not 1."""
    if isinstance(given, str) and isinstance(expected, str):
        same = canonical(given, policy.strings) == canonical(expected, policy.strings) or _same_instant(given, expected, policy)
        return same, float(same)
    if isinstance(given, bool) or isinstance(expected, bool):
        return given is expected, float(given is expected)
    if isinstance(given, int | float) and isinstance(expected, int | float):
        same = _same_number(given, expected, policy.number_tolerance)
        return same, float(same)
    if isinstance(given, list) and isinstance(expected, list | tuple):
        pairs = [value_similarity(one, other, policy) for one, other in zip(given, expected, strict=False)]
        return _together(pairs, of=max(len(given), len(expected)))
    if isinstance(given, Mapping) and isinstance(expected, Mapping):
        pairs = [value_similarity(value, expected[name], policy) for name, value in given.items() if name in expected]
        return _together(pairs, of=len(given.keys() | expected.keys()))
    same = given is None and expected is None
    return same, float(same)


def compare_calls(
    given: Sequence[Call], wanted: Sequence[WantedCall], policy: ComparisonPolicy, *, similarity: Callable[[object, object], Similarity]
) -> Comparison:
    """``similarity`` of a given value and an allowed one.

    Where the order is free, calls are matched so that the sum of their scores is highest; of several such matchings always the same one.
    """
    if policy.calls_in_order or max(len(given), len(wanted)) in (0, 1) or max(len(given), len(wanted)) > MATCHED_CALLS:
        found = [_call_similarity(given[at], one, similarity) if at < len(given) else _no_match(one) for at, one in enumerate(wanted)]
    else:
        found = _best_matching([[_call_similarity(call, one, similarity) for call in given] for one in wanted], wanted)
    several = len(wanted) > 1
    faults = [f"call {at + 1}: {one.fault}" if several else one.fault for at, one in enumerate(found) if one.fault]
    if len(given) != len(wanted):
        faults.insert(0, f"{len(given)} calls where {len(wanted)} are expected")
    names = ((f"{at + 1}.{name}" if several else name, score) for at, one in enumerate(found) for name, score in one.arguments.items())
    return Comparison(
        same=not faults,
        score=sum(one.score for one in found) / max(len(given), len(wanted), 1),
        reason=faults[0] if faults else "the correct calls" if several else "the correct call",
        arguments=dict(names),
    )


@dataclass(frozen=True, kw_only=True)
class _CallSimilarity:
    """``fault`` is the first one; empty when the call is correct. ``weight``: how well the two fit together."""

    score: float
    weight: float
    fault: str
    arguments: Mapping[str, float]


def _call_similarity(call: Call, wanted: WantedCall, similarity: Callable[[object, object], Similarity]) -> _CallSimilarity:
    tool, given = call
    if tool != wanted.tool:
        return _no_match(wanted, fault="another tool")
    scores: dict[str, float] = {}
    faults = []
    for name, value in given.items():
        found = [similarity(value, one) for one in wanted.arguments.get(name, ())]
        scores[name] = max((score for _, score in found), default=0.0)
        if name not in wanted.arguments:
            faults.append(f"argument {name[:60]} is not expected")
        elif not any(same for same, _ in found):
            faults.append(f"argument {name[:60]} has an incorrect value")
    for name in wanted.arguments:
        if name not in given and name not in wanted.optional:
            scores[name] = 0.0
            faults.append(f"argument {name[:60]} is missing")
    score = sum(scores.values()) / len(scores) if scores else 1.0
    return _CallSimilarity(score=score, weight=1.0 + score, fault=faults[0] if faults else "", arguments=scores)


def _no_match(wanted: WantedCall, fault: str = "is missing") -> _CallSimilarity:
    required = (name for name in wanted.arguments if name not in wanted.optional)
    return _CallSimilarity(score=0.0, weight=0.0, fault=fault, arguments=dict.fromkeys(required, 0.0))


def _best_matching(table: Sequence[Sequence[_CallSimilarity]], wanted: Sequence[WantedCall]) -> list[_CallSimilarity]:
    """For each wanted call its given one, each given one at most once."""
    if not table or not table[0]:
        return [_no_match(one) for one in wanted]
    from scipy.optimize import linear_sum_assignment  # at first use: it takes a second to import

    rows, columns = linear_sum_assignment([[one.weight for one in row] for row in table], maximize=True)
    given = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    return [table[at][given[at]] if at in given else _no_match(one) for at, one in enumerate(wanted)]


def _together(pairs: Sequence[Similarity], *, of: int) -> Similarity:
    """Members of a list or object; those that only one of the two has count as different."""
    return len(pairs) == of and all(same for same, _ in pairs), sum(score for _, score in pairs) / of if of else 1.0


def _same_number(given: float, expected: float, tolerance: float) -> bool:
    if isinstance(given, int) and isinstance(expected, int):
        return given == expected
    try:
        return math.isclose(given, expected, rel_tol=tolerance)
    except OverflowError:  # a whole number of more than 308 digits
        return given == expected


def _same_instant(given: str, expected: str, policy: ComparisonPolicy) -> bool:
    if not policy.times_by_instant:
        return False
    one, other = _instant(given), _instant(expected)
    return one is not None and one == other


def _instant(text: str) -> datetime | None:
    """A time without a zone is one of its own, and never the same as one with a zone."""
    if not _TIME.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment
    except (ValueError, OverflowError):
        return None


def _normalised(text: str, form: Literal["NFC", "NFKC"]) -> str:
    if text.isascii():
        return text
    pieces, done = [], 0
    for run in _MARKS.finditer(text):
        pieces.append(text[done : run.start()])
        pieces.extend(text[at : at + _MARKS_AT_ONCE] for at in range(run.start(), run.end(), _MARKS_AT_ONCE))
        done = run.end()
    return "".join(unicodedata.normalize(form, piece) for piece in (*pieces, text[done:]))


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a key stands twice: readers disagree about its value")
    return members


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def _too_deep(value: object) -> bool:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for one in level if isinstance(one, dict | list) for inner in (one.values() if isinstance(one, dict) else one)]
        if not level:
            return False
    return any(isinstance(one, dict | list) for one in level)
