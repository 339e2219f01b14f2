"""A captured production failure with its corrected answer, and its states."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flywheel.ids import CorrectionId, RequestId, WorkloadId
from flywheel.traffic.exchange import Prompt
from flywheel.traffic.message import Json, Message


class CorrectionKind(StrEnum):
    """What the submitter did. Only an edit can become a training example."""

    EDIT = "edit"
    REJECT = "reject"
    RATING = "rating"
    COMMENT = "comment"


class CorrectionState(StrEnum):
    """An accepted correction is a case of the regression suite, and a training example unless its entity is held out."""

    SUBMITTED = "submitted"
    DUPLICATE = "duplicate"
    CONTRADICTION = "contradiction"  # held until a person decides
    REVIEW = "review"
    ACCEPTED = "accepted"
    KNOWLEDGE_GAP = "knowledge_gap"  # a fact: it belongs in a source, not in weights
    REJECTED = "rejected"


def qualified_id(workload: WorkloadId, source: str, given_id: str) -> CorrectionId:
    """``<workload>/<source>:<id>``: tools number their corrections from 1, and a source is only a claim, so that no workload can take
    another's ids. A colon in the source is written %3A, so that no two are the same.
    """
    return CorrectionId(f"{workload}/{source.replace('%', '%25').replace(':', '%3A')}:{given_id}")


@dataclass(frozen=True, kw_only=True)
class Remarks:
    """What the submitter wrote for people to read; it decides nothing."""

    comment: str = ""
    ticket: str = ""


@dataclass(frozen=True, kw_only=True)
class InlineRequest:
    """The request, where it came with the correction: no messages where it did not. ``left_out``: paths at which media were removed."""

    messages: tuple[Message, ...] = ()
    tools: tuple[Json, ...] = ()
    dimensions: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Correction:
    """As submitted, after validation and redaction. Answers are texts; tool calls are JSON in them, as ``calls_as_text`` writes it."""

    id: CorrectionId  # by ``qualified_id``; of rows that older versions stored the id that the source gave
    workload: WorkloadId
    source: str  # the tool that sent it, e.g. "support-desk"
    author: str  # keyed pseudonym of the person who wrote the correction
    kind: CorrectionKind
    created_at: datetime
    request_id: RequestId | None = None  # of the recorded request: ours, the completion's or the client's; without it, ``inline`` is needed
    inline: InlineRequest = InlineRequest()
    original: str | None = None
    corrected: str | None = None  # the correct answer, for an edit
    reason_code: str = "other"
    supersedes: CorrectionId | None = None
    remarks: Remarks = Remarks()
    redactions: int = 0  # pieces of personal data replaced by pseudonyms

    @property
    def given_id(self) -> str:
        """The id that the source gave."""
        return self.id.removeprefix(qualified_id(self.workload, self.source, ""))


@dataclass(frozen=True, kw_only=True)
class JoinedCorrection:
    """A correction with the request it is about."""

    correction: Correction
    messages: tuple[Message, ...]
    original: str | None
    entity: str  # all corrections of one entity are held out, or none
    dimensions: Mapping[str, str] = field(default_factory=dict)
    adapter: str = ""
    joined: bool = True  # False when the request came inline
    tools: tuple[Json, ...] = ()
    settings: Mapping[str, Json] = field(default_factory=dict)  # of the request, as ``task_prompt`` leaves them

    @property
    def prompt(self) -> Prompt:
        """What the model was asked with."""
        return Prompt(messages=self.messages, tools=self.tools, settings=self.settings)
