"""Routes: dead letters, and what a person does about them."""

import re
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from flywheel.errors import CannotRun, NotFound
from flywheel.ids import WorkloadId
from flywheel.traffic.dead_letter import LetterCause, next_step
from services.api.access import OPERATE, READ, Caller, CallerOf, guarded_routes, opened_by
from services.api.json_values import Json, json_of
from services.api.requests import RequestBody
from services.api.retry_dead_letters import drop, retry
from services.api.wiring import ApiParts
from services.ports.dead_letters import DeadLetter, LetterClosed

SHOWN_CHARACTERS = 4_000  # of a dead letter's content
REDACTED_BYTES = 4_400  # so many are redacted: personal data that the end of what is shown would cut through is whole
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


class DropBody(RequestBody):
    reason: str = Field(min_length=1, max_length=2_000)


def dead_letter_routes(parts: ApiParts) -> APIRouter:
    """``/v1/dead-letters``. A letter that names no configured workload is shown to tokens that cover every workload."""
    routes = guarded_routes(parts)

    @routes.get("/v1/dead-letters", openapi_extra=opened_by(READ))
    def list_dead_letters(
        caller: CallerOf,
        workload: str | None = None,
        cause: LetterCause | None = None,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    ) -> dict[str, Json]:
        """Newest first, without content."""
        covered: list[str] = [*caller.visible(workload)]
        if workload is None and len(covered) == len(parts.workloads):
            covered.append("")
        found = parts.letters.dead_letters(workloads=covered, cause=cause, limit=limit)
        return {"dead_letters": [json_of(letter) for letter in found]}

    @routes.get("/v1/dead-letters/{letter_id}", openapi_extra=opened_by(READ))
    def show_dead_letter(letter_id: str, caller: CallerOf) -> Json:
        """With its redacted content and the next step."""
        letter = _covered(parts, caller, letter_id)
        return {**_view(letter), "content": _shown(parts, letter)}

    @routes.post("/v1/dead-letters/{letter_id}/retry", openapi_extra=opened_by(OPERATE))
    def retry_dead_letter(letter_id: str, caller: CallerOf) -> Json:
        """Sends its bytes to the topic again. Safe to repeat."""
        return _view(retry(parts, _covered(parts, caller, letter_id), by=caller.person, now=parts.clock()))

    @routes.post("/v1/dead-letters/{letter_id}/drop", openapi_extra=opened_by(OPERATE))
    def drop_dead_letter(letter_id: str, body: DropBody, caller: CallerOf) -> Json:
        """Deletes its content for good."""
        return _view(drop(parts, _covered(parts, caller, letter_id), reason=body.reason, by=caller.person, now=parts.clock()))

    return routes


def _covered(parts: ApiParts, caller: Caller, id: str) -> DeadLetter:
    """A letter that the token does not cover is answered like one that does not exist."""
    letter = parts.letters.dead_letter(id)
    needed = [WorkloadId(letter.workload)] if letter is not None and letter.workload else list(parts.workloads)
    if letter is None or not all(caller.covers(workload) for workload in needed):
        raise NotFound("there is no such dead letter", where="dead letter", value=id, remedy="List them: flywheel dlq list.")
    return letter


def _view(letter: DeadLetter) -> dict[str, Json]:
    view = json_of(letter)
    assert isinstance(view, dict)
    return {**view, "next_step": next_step(letter.id, letter.cause, letter.state, size=letter.size)}


def _shown(parts: ApiParts, letter: DeadLetter) -> str:
    """The beginning of the content as text, redacted. Without a redactor no content leaves the api."""
    if letter.cause is LetterCause.DEADLY:
        return "not shown: work on it ended processes"
    try:
        raw = parts.letters.content(letter.id)
        if raw is None:
            return "not kept any more"
        text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), raw[:REDACTED_BYTES].decode("utf-8", "replace"))
        redacted, _ = parts.open_redactor().redact(text)
    except CannotRun as error:
        return f"not shown: {error.reason}"
    except LetterClosed as error:
        return f"not shown: {error}"
    cut = len(redacted) > SHOWN_CHARACTERS or len(raw) > REDACTED_BYTES
    shown = redacted[:SHOWN_CHARACTERS].encode("utf-8", "replace").decode()  # half of a character cannot be sent
    return shown + ("…" if cut else "")
