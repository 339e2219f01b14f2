"""The golden set: frozen, versioned cases on which adapters are compared.

In: rows that an expert verified, then the cases to freeze. Out: cases, and a GoldenSet whose id is the hash of its cases.
Storing it is not done here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from flywheel.corrections.near_duplicates import judged
from flywheel.errors import InvalidInput, Refused, shortened
from flywheel.ids import CaseId, Person, WorkloadId, derive, digest_of
from flywheel.regression_suite.case import Case, Grader, Tier
from flywheel.regression_suite.grade import check_grader
from flywheel.traffic.exchange import Prompt
from flywheel.traffic.message import Json, Message, message_from_wire
from flywheel.traffic.task_prompt import TASK_SETTINGS

IMPORTED = (Tier.GOLDEN, Tier.GENERAL, Tier.SAFETY)
ROW_KEYS = frozenset({"tier", "messages", "tools", "grader", "entity", "slice", "reference_answer", "verified_by"}) | TASK_SETTINGS


@dataclass(frozen=True, kw_only=True)
class GoldenSet:
    """Frozen before any adapter is compared on it; a new version is kept beside the old ones."""

    id: str  # hash of its cases
    workload: WorkloadId
    version: int
    cases: tuple[Case, ...]
    frozen_by: Person
    frozen_at: datetime


def freeze(*, cases: Sequence[Case], workload: WorkloadId, version: int, by: Person, now: datetime) -> GoldenSet:
    """Sorts the cases by id: the same cases in any order are the same set. Raises Refused when there is none."""
    golden = sorted((case for case in cases if case.tier is Tier.GOLDEN), key=lambda case: case.id)
    if not golden:
        raise Refused("there are no golden cases to freeze", where=workload, remedy="Import them first: flywheel golden import.")
    identity = digest_of("\n".join(_line(case) for case in golden))[:16]
    return GoldenSet(id=f"golden-{identity}", workload=workload, version=version, cases=tuple(golden), frozen_by=by, frozen_at=now)


def case_of_row(row: object, *, workload: WorkloadId, where: str, now: datetime, by: Person) -> Case:
    """The case of one imported row; the same row again gives the same case. Raises InvalidInput with the key that cannot be used."""
    if not isinstance(row, Mapping):
        raise InvalidInput("must be a JSON object", where=where, value=type(row).__name__, remedy="Write one object a line.")
    unknown = sorted(set(row) - ROW_KEYS)
    if unknown:
        raise InvalidInput("unknown key", where=f"{where}: {unknown[0]}", remedy=f"Known keys: {', '.join(sorted(ROW_KEYS))}.")
    tier, grader = row.get("tier"), row.get("grader")
    if tier not in tuple(IMPORTED):
        raise InvalidInput("must be golden, general or safety", where=f"{where}: tier", value=tier, remedy="Correct the tier.")
    if not isinstance(grader, Mapping) or not isinstance(grader.get("kind"), str) or not isinstance(grader.get("expected", {}), Mapping):
        raise InvalidInput("must have kind and expected", where=f"{where}: grader", remedy='Write {"kind": ..., "expected": {...}}.')
    messages, tools = messages_of(row.get("messages"), where=where), row.get("tools", [])
    if not isinstance(tools, list) or not all(isinstance(tool, dict) and isinstance(tool.get("function"), dict) for tool in tools):
        raise InvalidInput(
            "must be a list of tools", where=f"{where}: tools", value=shortened(tools), remedy="Write them as in a chat request."
        )
    settings = {key: row[key] for key in sorted(TASK_SETTINGS) if key in row}
    checked = check_grader(Grader(kind=grader["kind"], expected=dict(grader.get("expected", {}))), where=where)
    entity = _text(row, "entity", where) or judged(messages).cluster
    asked = _asked(Prompt(messages=messages, tools=tuple(tools), settings=settings))
    identity = json.dumps([asked, checked.kind, dict(checked.expected)], sort_keys=True, ensure_ascii=False)
    return Case(
        id=CaseId(derive("case", workload, tier, identity)),
        workload=workload,
        tier=Tier(str(tier)),
        messages=messages,
        grader=checked,
        entity=entity,
        slice=_text(row, "slice", where) or "all",
        reference_answer=_text(row, "reference_answer", where),
        verified_by=_text(row, "verified_by", where) or by,
        created_at=now,
        tools=tuple(tools),
        settings=settings,
    )


def messages_of(value: object, *, where: str) -> tuple[Message, ...]:
    """The chat messages of a row, as in a chat request; at least one is a text of the user."""
    remedy = 'Write [{"role": "user", "content": ...}].'
    if not isinstance(value, list) or not value:
        raise InvalidInput("must be a list of messages", where=f"{where}: messages", value=type(value).__name__, remedy=remedy)
    found = []
    for index, message in enumerate(value):
        place = f"{where}: messages[{index}]"
        read = message_from_wire(message, where=place)
        if read.content is None and not read.tool_calls:
            raise InvalidInput("must have role and content", where=place, remedy=remedy)
        found.append(read)
    if not any(message.role == "user" and message.text.strip() for message in found):
        raise InvalidInput("no message of the user has text", where=f"{where}: messages", remedy=remedy)
    return tuple(found)


def _text(row: Mapping[str, object], name: str, where: str) -> str:
    value = row.get(name, "")
    if not isinstance(value, str):
        raise InvalidInput("must be text", where=f"{where}: {name}", value=type(value).__name__, remedy="Put it in quotes.")
    return value


def _line(case: Case) -> str:
    return json.dumps(
        {
            "id": case.id,
            "messages": _asked(case.prompt),
            "grader": [case.grader.kind, dict(case.grader.expected)],
            "entity": case.entity,
            "slice": case.slice,
        },
        sort_keys=True,
        ensure_ascii=False,
    )


def _asked(prompt: Prompt) -> Json:
    """For hashes. Of plain texts alone it is what earlier versions hashed: pairs of role and text."""
    messages = [[one.role, one.text] if one == Message(role=one.role, content=one.text) else one.to_wire() for one in prompt.messages]
    return {**prompt.to_wire(), "messages": messages} if prompt.tools or prompt.settings else messages
