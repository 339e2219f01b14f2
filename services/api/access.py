"""Checks access: who sent a request, whether the route is open to the token, and which workloads the token covers.

In: the Authorization header, the scopes that the route names. Out: a ``Caller``, before a byte of the body is read; or NotAllowed.
What exists and what does not is answered alike to a token that does not cover it: 403 where the request names a workload, 404 elsewhere.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from flywheel.errors import NotAllowed, NotFound
from flywheel.ids import Person, WorkloadId
from services.api.requests import with_json_body
from services.api.wiring import ApiParts, WorkloadRules

READ = ("review", "operate", "admin", "internal")
OPERATE = ("operate",)
SUBMIT = ("submit",)
SUBMITTER_READS = (*READ, "submit")  # whoever hands corrections in may see what became of them
INTERNAL = ("internal",)
ADMIN = ("admin",)
FOLLOW_ROUTES = ("internal", "operate")


class RefusalCount(Protocol):
    """Counts a refused attempt. ``presented``: there was an Authorization header."""

    def __call__(self, refusal: NotAllowed, *, scopes: Sequence[str], presented: bool) -> None: ...


class Caller:
    """Who sent a request. The token has one of the scopes that open the route."""

    def __init__(self, parts: ApiParts, authorization: str | None, scopes: Sequence[str]) -> None:
        """Raises NotAllowed."""
        self._parts, self._authorization = parts, authorization
        self.person, self._scope = _admitted(parts, authorization, scopes)

    def covers(self, workload: WorkloadId) -> bool:
        try:
            self._parts.access.person(self._authorization, scope=self._scope, workload=workload)
        except NotAllowed:
            return False
        return True

    def covered(self) -> list[WorkloadId]:
        """Every configured workload that the token covers."""
        return [workload for workload in self._parts.workloads if self.covers(workload)]

    def may(self, workload: WorkloadId) -> Person:
        """The token's name. Raises NotAllowed for a workload that the token does not cover, whether or not there is such a workload."""
        try:
            return self._parts.access.person(self._authorization, scope=self._scope, workload=workload)
        except NotAllowed as refusal:
            self._parts.http.refused.note(refusal)
            raise

    def workload(self, name: str) -> WorkloadRules:
        """Raises NotAllowed as ``may``, NotFound for a workload that is covered and not configured."""
        self.may(WorkloadId(name))
        found = self._parts.workloads.get(WorkloadId(name))
        if found is None:
            known = ", ".join(sorted(self.covered())) or "none"
            raise NotFound("there is no such workload", where="workload", value=name, remedy=f"Configured are: {known}.")
        return found

    def visible(self, name: str | None) -> list[WorkloadId]:
        """The workload named, or every one that the token covers. Raises NotAllowed, NotFound."""
        return self.covered() if name is None else [self.workload(name).id]

    def also(self, scope: str) -> None:
        """Raises NotAllowed when the token lacks this scope too."""
        try:
            self._parts.access.person(self._authorization, scope=scope)
        except NotAllowed as refusal:
            self._parts.http.refused.note(refusal)
            raise


def status_of(error: NotAllowed) -> int:
    """The HTTP status: 401 for an unknown token, 403 for one whose scopes do not cover this."""
    return int(getattr(error, "status", 403))


def _admitted(parts: ApiParts, authorization: str | None, scopes: Sequence[str]) -> tuple[Person, str]:
    """The token's name, and the first of these scopes that it has. Raises NotAllowed, naming the first scope."""
    refusals: list[NotAllowed] = []
    for scope in scopes:
        try:
            return parts.access.person(authorization, scope=scope), scope
        except NotAllowed as error:
            refusals.append(error)
    raise refusals[0]


def opened_by(scopes: Sequence[str]) -> dict[str, Any]:
    """``openapi_extra`` of a route: a token with one of these scopes opens it."""
    return {"security": [{"token": [scope]} for scope in scopes]}


def scopes_of(openapi_extra: dict[str, Any] | None) -> tuple[str, ...]:
    """The scopes that ``opened_by`` wrote; none for a route without a rule."""
    return tuple(one["token"][0] for one in (openapi_extra or {}).get("security", []))


async def _caller(request: Request) -> Caller:
    found = request.state.caller
    assert isinstance(found, Caller), "every route is made by guarded_routes"
    return found


CallerOf = Annotated[Caller, Depends(_caller)]


def guarded_routes(parts: ApiParts, *, count: RefusalCount | None = None) -> APIRouter:
    """A router whose routes check the token before they read the body. A route without ``opened_by`` cannot be made."""

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle, scopes, reads_json = super().get_route_handler(), scopes_of(self.openapi_extra), self.body_field is not None
            if not scopes:
                raise ValueError(f"{self.path} has no rule of access: declare it with openapi_extra=opened_by(...)")

            async def guarded(request: Request) -> Response:
                authorization = request.headers.get("Authorization")
                try:
                    request.state.caller = Caller(parts, authorization, scopes)
                except NotAllowed as refusal:
                    parts.http.refused.note(refusal)
                    if count is not None:
                        await run_in_threadpool(count, refusal, scopes=scopes, presented=bool(authorization))
                    raise
                with parts.http.limiter.held(client=request.state.caller.person):
                    return await handle(await with_json_body(request) if reads_json else request)

            return guarded

    return APIRouter(route_class=GuardedRoute)
