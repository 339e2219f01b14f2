"""Routes: which events are recorded, recorded exchanges, and dead letters."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from flywheel.errors import CannotRun, InvalidInput, NotFound
from flywheel.ids import EventId
from services.api.access import INTERNAL, READ, Bearer, admitted, visible
from services.api.json_values import Json, exchange_json, json_of
from services.api.requests import RequestBody
from services.api.wiring import ApiParts
from services.ports.traffic import DeadLetter

CONTENT_BYTES = 4_000  # of a dead letter; the rest is not sent
NOT_RECORDED = "Recording takes some seconds. What could not be read is a dead letter: flywheel dlq list."


class EventIdsBody(RequestBody):
    ids: list[str] = Field(max_length=10_000)


def traffic_routes(parts: ApiParts) -> APIRouter:
    """``/v1/recorded``, ``/v1/exchanges`` and ``/v1/dead-letters``."""
    routes = APIRouter()

    @routes.post("/v1/recorded")
    def list_recorded(body: EventIdsBody, authorization: Bearer = None) -> dict[str, list[str]]:
        """Which of these events are recorded; the gateway asks."""
        admitted(parts, authorization, INTERNAL)
        return {"recorded": sorted(parts.traffic.recorded([EventId(one) for one in body.ids]))}

    @routes.get("/v1/exchanges/{id:path}")
    def show_exchange(id: str, authorization: Bearer = None, workload: str | None = None) -> dict[str, Json]:
        """One request and its answer, by our request id, the completion's id, or the client's own id.

        An exchange of a workload that the token does not cover is answered like one that does not exist.
        """
        covered = visible(parts, authorization, workload)
        found = [row for name in covered if (row := parts.traffic.by_request(id, workload=name)) is not None]
        if not found:
            raise NotFound("there is no such exchange", where="exchange", value=id, remedy=NOT_RECORDED)
        if len(found) > 1:
            names = ", ".join(row.inference.workload for row in found)
            raise InvalidInput("several workloads have this id", where="exchange", value=id, remedy=f"Name one with workload: {names}.")
        return exchange_json(found[0].inference)

    @routes.get("/v1/dead-letters")
    def list_dead_letters(authorization: Bearer = None, limit: Annotated[int, Query(ge=1, le=1_000)] = 100) -> dict[str, Json]:
        admitted(parts, authorization, READ)
        return {"dead_letters": [_summary(letter) for letter in parts.traffic.dead_letters(limit=limit)]}

    @routes.get("/v1/dead-letters/{letter_id}")
    def show_dead_letter(letter_id: str, authorization: Bearer = None) -> Json:
        admitted(parts, authorization, READ)
        letter = parts.traffic.dead_letter(letter_id)
        if letter is None:
            raise NotFound("there is no such dead letter", where="dead letter", value=letter_id, remedy="List them: flywheel dlq list.")
        return {**_summary(letter), "content": _redacted_content(parts, letter.raw)}

    return routes


def _summary(letter: DeadLetter) -> dict[str, Json]:
    """Without its content."""
    view = json_of(letter)
    assert isinstance(view, dict)
    view.pop("raw")
    return {**view, "bytes": len(letter.raw)}


def _redacted_content(parts: ApiParts, raw: bytes) -> str:
    """The first 4,000 bytes as text. Without a redactor no content leaves the api."""
    try:
        text, _ = parts.open_redactor().redact(raw[:CONTENT_BYTES].decode("utf-8", "replace"))
    except CannotRun as error:
        return f"not shown: {error.reason}"
    return text + ("…" if len(raw) > CONTENT_BYTES else "")
