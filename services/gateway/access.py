"""Who may ask for which model: an alias with a token of its workload, an adapter by its name with an operator's token."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from aiohttp import web

from flywheel.errors import NotAllowed, NotFound
from flywheel.ids import BASE, Person
from services.gateway.error_responses import status_of
from services.gateway.follow_routes import RouteTable
from services.gateway.read_request import MODEL_REMEDY, ServedWorkload


class TokenCheck(Protocol):
    """Returns the person of a token."""

    def person(self, authorization: str | None, *, scope: str, workload: str | None = None) -> Person: ...


class ModelAccess:
    """``workloads``: by alias."""

    def __init__(self, *, tokens: TokenCheck, workloads: Mapping[str, ServedWorkload], table: RouteTable) -> None:
        self._tokens, self._workloads, self._table = tokens, workloads, table

    def asks(self, request: web.Request, model: str) -> tuple[Person, ServedWorkload | None]:
        """Who asks, and the alias's workload; None for an adapter's name. Raises NotAllowed, or NotFound for an unknown name."""
        authorization, served = request.headers.get("Authorization"), self._workloads.get(model)
        if served is not None:
            return self._tokens.person(authorization, scope="infer", workload=served.workload), served
        try:
            return self._tokens.person(authorization, scope="operate"), None
        except NotAllowed as error:
            if status_of(error) == 401 or model == BASE or model in self._table.adapters():
                raise
            raise unknown_model(model) from None

    def asks_without_model(self, request: web.Request) -> Person:
        """Who asks for something that names no model, such as a stored response: it may be of any workload, so the token covers all."""
        authorization = request.headers.get("Authorization")
        people = [self._tokens.person(authorization, scope="infer", workload=one.workload) for one in self._workloads.values()]
        return people[0] if people else self._tokens.person(authorization, scope="infer")

    def visible(self, request: web.Request) -> Sequence[ServedWorkload]:
        """The workloads that this token may query."""
        authorization = request.headers.get("Authorization")
        self._tokens.person(authorization, scope="infer")
        return [one for one in self._workloads.values() if self._covers(authorization, one)]

    def _covers(self, authorization: str | None, served: ServedWorkload) -> bool:
        try:
            self._tokens.person(authorization, scope="infer", workload=served.workload)
        except NotAllowed:
            return False
        return True


def unknown_model(model: str) -> NotFound:
    return NotFound("there is no such model", where="model", value=model[:120], remedy=MODEL_REMEDY)
