"""The demo's support tool: submits a correction for each incorrect answer, and some of the faulty submissions that real tools send.

In: requests and answers of users, and old tickets, which contain their own request because it was never recorded. Out: HTTP submissions
to the api, and their counts.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx

from services.cli.demo.app_traffic import Asked
from services.cli.demo.tool_router import ToolItem, is_correct

TICKETS_ARE_OLD = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class SubmittedCorrections:
    """How many of each kind were submitted."""

    fixes: int
    old_tickets: int
    same_again: int
    contradictions: int
    with_personal_data: int
    rubbish: int
    forged: int


def submit_corrections(
    asked: Sequence[Asked],
    *,
    tickets: Sequence[ToolItem] = (),
    url: str,
    token: str,
    workload: str,
    now: datetime,
    progress: Callable[[int, int], None],
) -> SubmittedCorrections:
    """One per incorrect answer and old ticket; every 20th twice, two contradictions, four with personal data, three invalid, one forged."""
    incorrect = [one for one in asked if one.ok and not is_correct(one.item, one.answer)]
    fixes = [_fix(one, workload, now) for one in incorrect]
    for fix in fixes[3:7]:
        fix["comment"] = "Customer Jane Doe, jane.doe@example.org, +49 30 901820, asked for this twice."
    again = fixes[::20]
    contradicting = [_contradiction(fix, at) for at, fix in enumerate(fixes[10:12])]
    rubbish: list[object] = [
        {"correction_id": "rubbish-1", "workload_id": workload, "kind": "edit"},
        {**fixes[0], "correction_id": "rubbish-2", "kind": "praise"},
        {**fixes[0], "correction_id": "rubbish-3", "corrected": 42},
    ]
    old = [_ticket(item, workload, now - TICKETS_ARE_OLD) for item in tickets]
    total = len(fixes) + len(old) + len(again) + len(contradicting) + len(rubbish) + 1
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        for at, body in enumerate([*fixes, *old, *again, *contradicting, *rubbish]):
            client.post("/v1/corrections", json=body)
            progress(at + 1, total)
        forged = {**fixes[1], "correction_id": "forged-1"}
        client.post("/v1/corrections", json=forged, headers={"Authorization": "Bearer a-forged-token"})
        progress(total, total)
    return SubmittedCorrections(
        fixes=len(fixes),
        old_tickets=len(old),
        same_again=len(again),
        contradictions=len(contradicting),
        with_personal_data=len(fixes[3:7]),
        rubbish=len(rubbish),
        forged=1,
    )


def _fix(one: Asked, workload: str, now: datetime) -> dict[str, object]:
    return {
        **_edit(one.item, workload, now),
        "correction_id": f"fix-{one.request_id}",
        "request_id": one.request_id,
    }


def _ticket(item: ToolItem, workload: str, solved: datetime) -> dict[str, object]:
    """A ticket that contains its request."""
    return {
        **_edit(item, workload, solved),
        "correction_id": f"ticket-{item.id}",
        "messages": item.messages,
        "ticket": f"T-{item.id}",
    }


def _edit(item: ToolItem, workload: str, at: datetime) -> dict[str, object]:
    return {
        "workload_id": workload,
        "source": "support-desk",
        "kind": "edit",
        "corrected": item.answer,
        "reason_code": "format",
        "author": {"name": "sam", "role": "support"},
        "created_at": at.isoformat(),
    }


def _contradiction(fix: dict[str, object], at: int) -> dict[str, object]:
    """The same request with another answer, under another id."""
    call = json.loads(str(fix["corrected"]))
    call["arguments"] = {}
    return {**fix, "correction_id": f"contradiction-{at}", "corrected": json.dumps(call)}
