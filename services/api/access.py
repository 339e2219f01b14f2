"""Checks access: the person of a request's token, and what the token's scopes cover.

In: the Authorization header, the scopes of which one is enough, the workload. Out: the person's name, or NotAllowed.
"""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Header

from flywheel.errors import NotAllowed, NotFound
from flywheel.ids import Person, WorkloadId
from services.api.wiring import ApiParts, WorkloadRules

Bearer = Annotated[str | None, Header(alias="Authorization")]
READ = ("operate", "review", "admin", "internal")
OPERATE = ("operate",)
SUBMIT = ("submit",)
INTERNAL = ("internal",)


def admitted(parts: ApiParts, authorization: str | None, scopes: Sequence[str], *, workload: WorkloadId | None = None) -> Person:
    """The person, if the token has one of ``scopes``. Raises NotAllowed."""
    refusal: NotAllowed | None = None
    for scope in scopes:
        try:
            return parts.access.person(authorization, scope=scope, workload=workload)
        except NotAllowed as error:
            refusal = error
            if status_of(error) == 401:
                raise
    assert refusal is not None, "at least one scope is named"
    raise refusal


def status_of(error: NotAllowed) -> int:
    """The HTTP status: 401 for an unknown token, 403 for one whose scopes do not cover this."""
    return int(getattr(error, "status", 403))


def known_workload(parts: ApiParts, name: str) -> WorkloadRules:
    """Raises NotFound for a workload that the configuration does not name."""
    found = parts.workloads.get(WorkloadId(name))
    if found is None:
        known = ", ".join(sorted(parts.workloads)) or "none"
        raise NotFound("there is no such workload", where="workload", value=name, remedy=f"Configured are: {known}.")
    return found


def admitted_to(parts: ApiParts, authorization: str | None, scopes: Sequence[str], name: str) -> tuple[Person, WorkloadRules]:
    """The person, and the workload if the person's token covers it. Raises NotAllowed, NotFound."""
    admitted(parts, authorization, scopes)
    workload = known_workload(parts, name)
    return admitted(parts, authorization, scopes, workload=workload.id), workload


def visible(parts: ApiParts, authorization: str | None, name: str | None, scopes: Sequence[str] = READ) -> list[WorkloadId]:
    """The workload named, or every one that the token covers. Raises NotAllowed, NotFound."""
    if name is not None:
        return [admitted_to(parts, authorization, scopes, name)[1].id]
    admitted(parts, authorization, scopes)
    covered = []
    for workload in parts.workloads:
        try:
            admitted(parts, authorization, scopes, workload=workload)
        except NotAllowed:
            continue
        covered.append(workload)
    return covered
