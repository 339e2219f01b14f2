"""Makes and revokes tokens in a person's name.

In: the person, what the token may do, the time. Out: the token, which is shown once, and a journal line. The routes check who may ask.
"""

import hashlib
import secrets
from datetime import datetime, timedelta

from flywheel.errors import Conflict, NotFound
from flywheel.ids import Person, WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from services.api.wiring import ApiParts
from services.ports.tokens import IssuedToken

PREFIX = "fw-"  # scanners for secrets find it in a repository


def create(
    parts: ApiParts, *, name: str, scopes: tuple[str, ...], workloads: tuple[str, ...], days: int, by: Person, now: datetime
) -> tuple[IssuedToken, str]:
    """The token as it is kept, and its secret. Raises Conflict when the name is in use."""
    secret = PREFIX + secrets.token_urlsafe(32)
    made = IssuedToken(
        name=name,
        scopes=scopes,
        workloads=workloads,
        sha256=hashlib.sha256(secret.encode()).hexdigest(),
        created_at=now,
        created_by=by,
        expires_at=now + timedelta(days=days),
    )
    if name in parts.access.names() or not parts.access.issued.add(made):
        raise Conflict("a token has this name already", where="name", value=name, remedy="Choose another: what was done is signed with it.")
    parts.ledger.journal.append(_line(made, "created", by=by, now=now))
    return made, secret


def revoke(parts: ApiParts, token: IssuedToken, *, reason: str, by: Person, now: datetime) -> IssuedToken:
    """In force at once. Safe to repeat."""
    revoked = parts.access.issued.revoke(token.name, now=now)
    if revoked is None:
        raise NotFound("there is no such token", where="token", value=token.name, remedy="List them: flywheel token list.")
    if token.revoked_at is None:
        parts.ledger.journal.append(_line(revoked, "revoked", by=by, now=now, reason=reason))
    return revoked


def _line(token: IssuedToken, state: str, *, by: Person, now: datetime, reason: str = "") -> JournalEntry:
    return JournalEntry(
        at=now,
        workload=WorkloadId(""),
        kind=JournalKind.TOKEN,
        subject=token.name,
        state=state,
        reason=reason or f"{state} by a person",
        actor=by,
        evidence={"scopes": list(token.scopes), "workloads": list(token.workloads), "expires_at": token.expires_at.isoformat()},
    )
