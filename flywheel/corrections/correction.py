"""A captured production failure and its fix, and what becomes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flywheel.ids import CorrectionId, RequestId, WorkloadId
from flywheel.traffic.inference import Message


class CorrectionKind(StrEnum):
    """What the submitter did. Only an edit can train."""

    EDIT = "edit"
    REJECT = "reject"
    RATING = "rating"
    COMMENT = "comment"


class CorrectionState(StrEnum):
    """Where a correction stands. ``accepted`` is a case of the suite, and an example unless its entity is held out."""

    SUBMITTED = "submitted"
    DUPLICATE = "duplicate"
    CONTRADICTION = "contradiction"  # held until a person decides
    REVIEW = "review"
    ACCEPTED = "accepted"
    KNOWLEDGE_GAP = "knowledge_gap"  # true, but it belongs into a source, not into weights
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True)
class Correction:
    """As submitted, after validation and redaction."""

    id: CorrectionId
    workload: WorkloadId
    source: str  # the tool that sent it, e.g. "support-desk"
    author: str  # keyed pseudonym of the person who wrote the fix
    kind: CorrectionKind
    created_at: datetime
    request_id: RequestId | None = None  # joins to the traffic; else messages must be there
    messages: tuple[Message, ...] = ()
    original: str | None = None
    corrected: str | None = None  # the right answer, for an edit
    reason_code: str = "other"
    comment: str = ""
    supersedes: CorrectionId | None = None
    ticket: str = ""
    redactions: int = 0  # findings replaced by pseudonyms


@dataclass(frozen=True, kw_only=True)
class JoinedCorrection:
    """A correction with the request it is about."""

    correction: Correction
    messages: tuple[Message, ...]
    original: str | None
    entity: str  # what the split holds together
    dimensions: Mapping[str, str] = field(default_factory=dict)
    adapter: str = ""
    joined: bool = True  # False when the request came inline
