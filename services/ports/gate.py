"""Gates in the ledger, and the client that queries the models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flywheel.gate.axes import GateDecision
from flywheel.ids import AdapterName, GateId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.traffic.exchange import Prompt


@dataclass(frozen=True, kw_only=True)
class GateRecord:
    """A gate as stored in the ledger."""

    id: GateId
    workload: WorkloadId
    adapter: AdapterName
    champion: AdapterName
    golden_version: int
    decision: GateDecision
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer of one arm to one prompt."""

    text: str | None
    finish_reason: str | None
    status: int
    error: str | None = None
    latency_ms: float = 0.0


class GateLedger(Protocol):
    """Gates, and the answers they were decided on, in the ledger."""

    def save_gate(self, gate: GateRecord, entry: JournalEntry) -> None:
        """Kept for ever."""

    def gate(self, gate_id: GateId) -> GateRecord | None:
        """One, or None."""

    def gates(self, workload: WorkloadId, *, adapter: AdapterName | None = None) -> Sequence[GateRecord]:
        """Newest first."""

    def cached_answers(self, keys: Sequence[str]) -> Mapping[str, Answer]:
        """Answers by digest of (adapter, messages, sampling)."""

    def cache_answers(self, answers: Mapping[str, Answer]) -> None:
        """Keeps them."""


class Answers(Protocol):
    """Asks a model. All arms of a gate are asked in the same way, at the same concurrency."""

    def ask(self, adapter: AdapterName, prompts: Sequence[Prompt], *, max_tokens: int, concurrency: int) -> Sequence[Answer]:
        """One answer per prompt, in order, at temperature 0; a failed one carries its status and error."""
