"""The demo's workload: a request with one tool's signature in, one JSON tool call out.

In: the data files of the PyPI package ``bfcl-eval`` (Berkeley Function Calling Leaderboard, Apache-2.0), unpacked.
Returns three sets: ``early`` (``simple_python``, traffic before the drift), ``live`` (``live_simple``, traffic after it) and
``golden``. No function of a golden item occurs in the others. Does not query a model.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flywheel.comparison import LENIENT, ComparisonPolicy
from flywheel.errors import CannotRun
from flywheel.ids import CaseId, WorkloadId
from flywheel.regression_suite.case import Case, Grader, Tier
from flywheel.regression_suite.grade import grade

WORKLOAD = WorkloadId("tool-router")
SYSTEM = 'Reply with one JSON object {"tool": name, "arguments": {...}}.'
TENANTS = ("acme", "globex", "initech", "umbrella")
LIVE_TENANT = "globex"
LIVE_TENANT_SHARE = 0.7  # of the live items; other items get a tenant by hash
GOLDEN_ITEMS = 60
GOLDEN_OF_ONE_FUNCTION = 4  # items of one function are correlated
MAX_PROMPT_TOKENS = 110
MAX_ANSWER_TOKENS = 48
COMPARISON = replace(ComparisonPolicy(), strings=LENIENT)  # as in deploy/demo/flywheel.yaml; the leaderboard compares strings so too
_TYPES = {
    "integer": "int",
    "string": "str",
    "boolean": "bool",
    "float": "float",
    "array": "list",
    "dict": "dict",
    "any": "any",
    "tuple": "list",
}
_PARTS = {"early": "BFCL_v4_simple_python.json", "live": "BFCL_v4_live_simple.json"}


@dataclass(frozen=True, kw_only=True)
class ToolItem:
    """One request and the calls that are correct: ``allowed[argument]`` lists its values, an empty string means it is optional."""

    id: str
    part: str  # "early" or "live"
    function: str
    user: str
    answer: str  # one correct call, as JSON
    allowed: dict[str, list[object]]
    tenant: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """The chat messages in OpenAI's format."""
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": self.user}]

    @property
    def session(self) -> str:
        """Session id; each item is a session of its own."""
        return f"session-{self.id}"


@dataclass(frozen=True, kw_only=True)
class ToolRouterItems:
    """The demo's three sets. No function of a golden item is in ``live`` or ``early``."""

    early: Sequence[ToolItem]
    live: Sequence[ToolItem]
    golden: Sequence[ToolItem]


def load(data: Path, *, count_tokens: Callable[[list[dict[str, str]]], int], count_answer: Callable[[str], int]) -> ToolRouterItems:
    """Reads the two parts and keeps items with one tool, at most MAX_PROMPT_TOKENS and MAX_ANSWER_TOKENS tokens."""
    items = [
        item
        for part, name in _PARTS.items()
        for item in _read(data / name, data / "possible_answer" / name, part)
        if count_tokens(item.messages) <= MAX_PROMPT_TOKENS and count_answer(item.answer) <= MAX_ANSWER_TOKENS
    ]
    items = list({item.user: item for item in reversed(items)}.values())[::-1]  # the same request twice is one item
    by_function: dict[str, list[ToolItem]] = {}
    for item in items:
        if item.part == "live":
            by_function.setdefault(item.function, []).append(item)
    golden: list[ToolItem] = []
    live: list[ToolItem] = []
    for function in sorted(by_function, key=lambda name: _hash("golden", name)):
        if len(golden) < GOLDEN_ITEMS:
            golden.extend(by_function[function][:GOLDEN_OF_ONE_FUNCTION])
        else:
            live.extend(by_function[function])
    golden_functions = {item.function for item in golden}
    early = [item for item in items if item.part == "early" and item.function not in golden_functions]
    return ToolRouterItems(
        early=sorted(early, key=lambda item: _hash("order", item.id)),
        live=sorted(live, key=lambda item: _hash("order", item.id)),
        golden=golden[:GOLDEN_ITEMS],
    )


def is_correct(item: ToolItem, answer: str) -> bool:
    """True if the gate's golden grader accepts the answer."""
    return grade(case=_case(item), answer=answer, comparison=COMPARISON).correct


def _case(item: ToolItem) -> Case:
    grader = Grader(kind="tool_call", expected={"tool": item.function, "arguments": item.allowed})
    return Case(id=CaseId(item.id), workload=WORKLOAD, tier=Tier.GOLDEN, messages=(), grader=grader, entity=item.function)


def _read(questions: Path, answers: Path, part: str) -> list[ToolItem]:
    if not questions.exists() or not answers.exists():
        raise CannotRun("the demo's data is missing", where=str(questions), remedy="Run `make setup`, which unpacks bfcl-eval.")
    expected_calls = {row["id"]: row["ground_truth"] for row in map(json.loads, answers.read_text().splitlines())}
    found = []
    for row in map(json.loads, questions.read_text().splitlines()):
        if len(row["function"]) != 1 or len(expected_calls[row["id"]]) != 1:
            continue
        ((name, allowed),) = expected_calls[row["id"]][0].items()
        required = {argument: values for argument, values in allowed.items() if "" not in values}
        try:
            answer = json.dumps({"tool": name, "arguments": {argument: values[0] for argument, values in required.items()}})
        except (TypeError, IndexError):
            continue
        user = f"Tool: {_signature(row['function'][0])}\n{row['question'][0][-1]['content']}"
        found.append(
            ToolItem(id=row["id"], part=part, function=name, user=user, answer=answer, allowed=allowed, tenant=_tenant(row["id"], part))
        )
    return found


def _signature(function: dict[str, object]) -> str:
    parameters = function["parameters"]
    assert isinstance(parameters, dict)
    required = set(parameters.get("required", []))
    listed = ", ".join(
        f"{name}{'' if name in required else '?'}:{_TYPES.get(spec.get('type'), 'any')}" for name, spec in parameters["properties"].items()
    )
    return f"{function['name']}({listed})"


def _tenant(item: str, part: str) -> str:
    draw = int(_hash("tenant", item)[:8], 16) / 16**8
    if part == "live" and draw < LIVE_TENANT_SHARE:
        return LIVE_TENANT
    return TENANTS[int(_hash("which", item)[:8], 16) % len(TENANTS)]


def _hash(*parts: str) -> str:
    return hashlib.sha256(":".join(parts).encode()).hexdigest()
