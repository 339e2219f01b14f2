"""Who may ask for which model: an alias with a token of its workload, an adapter by its name with an operator's token.

Whether the token may ask for any model is decided before the body is read. A model that it may not ask for is answered like one that there
is not.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from aiohttp import web

from flywheel.errors import NotAllowed, NotFound
from flywheel.ids import BASE, Person
from services.gateway.error_responses import status_of
from services.gateway.follow_routes import RouteTable
from services.gateway.read_request import MODEL_REMEDY, ServedWorkload
from services.process.request_limits import RequestLimiter


class TokenCheck(Protocol):
    """Returns the person of a token."""

    def person(self, authorization: str | None, *, scope: str, workload: str | None = None) -> Person: ...


class ModelAccess:
    """``workloads``: by alias."""

    def __init__(self, *, tokens: TokenCheck, workloads: Mapping[str, ServedWorkload], table: RouteTable, limiter: RequestLimiter) -> None:
        self._tokens, self._workloads, self._table, self._limiter = tokens, workloads, table, limiter

    def admits(self, request: web.Request) -> None:
        """For before the body is read. Raises NotAllowed for an unknown token, and for one that may ask for no model."""
        authorization = request.headers.get("Authorization")
        try:
            self._tokens.person(authorization, scope="infer")
        except NotAllowed as error:
            if status_of(error) == 401 or not self._may(authorization, "operate"):
                raise

    def asks(self, request: web.Request, model: str) -> tuple[Person, ServedWorkload | None]:
        """Who asks, and the alias's workload; None for an adapter's name. Raises NotAllowed for an unknown token, NotFound for a model that
        there is not or that the token may not ask for."""
        authorization, served = request.headers.get("Authorization"), self._workloads.get(model)
        try:
            if served is not None:
                return self._tokens.person(authorization, scope="infer", workload=served.workload), served
            person = self._tokens.person(authorization, scope="operate")
        except NotAllowed as error:
            if status_of(error) == 401:
                raise
            raise unknown_model(model) from error
        if not self._operates(authorization, model):
            raise unknown_model(model)
        return person, None

    def _operates(self, authorization: str | None, adapter: str) -> bool:
        """An adapter that a route names belongs to its workload. Of others the workload is not known here: the token must cover all."""
        if adapter == BASE:
            return True
        named = self._table.workloads_of(adapter)
        if named:
            return any(self._may(authorization, "operate", workload) for workload in named)
        return all(self._may(authorization, "operate", one.workload) for one in self._workloads.values())

    def held(self, client: Person, served: ServedWorkload | None) -> AbstractContextManager[None]:
        """A place for a request within the limits of token and workload. Raises TooManyRequests."""
        return self._limiter.held(client=client, workload=served.workload if served is not None else None)

    def spent(self, tokens: int, *, client: Person, workload: str | None) -> None:
        """Takes the tokens of an attempt from what token and workload have left."""
        self._limiter.spent(tokens, client=client, workload=workload)

    def asks_without_model(self, request: web.Request) -> Person:
        """Who asks for something that names no model, such as a stored response: it may be of any workload, so the token covers all."""
        authorization = request.headers.get("Authorization")
        people = [self._tokens.person(authorization, scope="infer", workload=one.workload) for one in self._workloads.values()]
        return people[0] if people else self._tokens.person(authorization, scope="infer")

    def visible(self, request: web.Request) -> Sequence[ServedWorkload]:
        """The workloads that this token may query."""
        authorization = request.headers.get("Authorization")
        self._tokens.person(authorization, scope="infer")
        return [one for one in self._workloads.values() if self._may(authorization, "infer", one.workload)]

    def _may(self, authorization: str | None, scope: str, workload: str | None = None) -> bool:
        try:
            self._tokens.person(authorization, scope=scope, workload=workload)
        except NotAllowed:
            return False
        return True


def unknown_model(model: str) -> NotFound:
    return NotFound("there is no such model, or not for this token", where="model", value=model[:120], remedy=MODEL_REMEDY)
