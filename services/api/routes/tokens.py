"""Routes: tokens that people make while the daemon runs. Those of flywheel.yaml are not shown here."""

from datetime import datetime
from typing import Annotated, get_args

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from flywheel.errors import NotFound
from flywheel.ids import WorkloadId
from services.api.access import ADMIN, Caller, CallerOf, guarded_routes, opened_by
from services.api.json_values import Json, json_of
from services.api.make_tokens import create, revoke
from services.api.requests import RequestBody
from services.api.wiring import EVERY_WORKLOAD, ApiParts, Scope
from services.ports.tokens import IssuedToken

Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]*$")]


class TokenBody(RequestBody):
    name: Name
    scopes: list[Scope] = Field(min_length=1, max_length=len(get_args(Scope)))
    workloads: list[str] = Field(default=[EVERY_WORKLOAD], min_length=1, max_length=1_000)
    days: int = Field(default=90, ge=1, le=3_650)


class RevocationBody(RequestBody):
    reason: str = Field(min_length=1, max_length=2_000)


def token_routes(parts: ApiParts) -> APIRouter:
    """``/v1/tokens``. A token of some workloads makes, sees and revokes tokens of these only."""
    routes = guarded_routes(parts)

    @routes.post("/v1/tokens", status_code=201, openapi_extra=opened_by(ADMIN))
    def create_token(body: TokenBody, caller: CallerOf) -> dict[str, Json]:
        """The only answer that has the token."""
        for name in body.workloads:
            if name == EVERY_WORKLOAD:
                caller.may(WorkloadId(name))
            else:
                caller.workload(name)
        scopes, workloads = tuple(dict.fromkeys(body.scopes)), tuple(dict.fromkeys(body.workloads))
        by, now = caller.person, parts.clock()
        made, secret = create(parts, name=body.name, scopes=scopes, workloads=workloads, days=body.days, by=by, now=now)
        return {**_view(made, now), "token": secret}

    @routes.get("/v1/tokens", openapi_extra=opened_by(ADMIN))
    def list_tokens(caller: CallerOf) -> dict[str, Json]:
        now = parts.clock()
        return {"tokens": [_view(token, now) for token in parts.access.issued.issued() if _covers(caller, token)]}

    @routes.post("/v1/tokens/{name}/revoke", openapi_extra=opened_by(ADMIN))
    def revoke_token(name: str, body: RevocationBody, caller: CallerOf) -> dict[str, Json]:
        found = next((token for token in parts.access.issued.issued() if token.name == name and _covers(caller, token)), None)
        if found is None:
            raise NotFound("there is no such token", where="token", value=name, remedy="List them: flywheel token list.")
        return _view(revoke(parts, found, reason=body.reason, by=caller.person, now=parts.clock()), parts.clock())

    return routes


def _covers(caller: Caller, token: IssuedToken) -> bool:
    return all(caller.covers(WorkloadId(name)) for name in token.workloads)


def _view(token: IssuedToken, now: datetime) -> dict[str, Json]:
    view = json_of(token)
    assert isinstance(view, dict)
    return {**{name: value for name, value in view.items() if name != "sha256"}, "state": token.state(now)}
