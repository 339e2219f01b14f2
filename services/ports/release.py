"""Gates, releases, routes, and the servers behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flywheel.gate.axes import GateDecision
from flywheel.ids import AdapterName, GateId, ReleaseId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.rollout.release import Release, Route
from flywheel.traffic.inference import Message


@dataclass(frozen=True, kw_only=True)
class GateRecord:
    """A gate as the ledger keeps it."""

    id: GateId
    workload: WorkloadId
    adapter: AdapterName
    champion: AdapterName
    golden_version: int
    decision: GateDecision
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an arm said to one prompt."""

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


class ReleaseLedger(Protocol):
    """Releases and routes in the ledger."""

    def release(self, release_id: ReleaseId) -> Release | None:
        """One, or None."""

    def releases(self, workload: WorkloadId, *, open_only: bool = False) -> Sequence[Release]:
        """Newest first. Open: not refused, rolled back or retired."""

    def save_release(self, release: Release, entry: JournalEntry, *, expected: Release | None, route: Route | None = None) -> bool:
        """One transaction: state, journal line, and the route it brings with its outbox event. False when ``expected`` no longer holds."""

    def route(self, workload: WorkloadId) -> Route | None:
        """The route in force."""

    def routes(self) -> Sequence[Route]:
        """One per workload."""

    def save_route(self, route: Route, entry: JournalEntry) -> bool:
        """False when the stored version is not ``route.version - 1``."""


class Answers(Protocol):
    """Asks a model. All arms of a gate are asked in the same way, at the same concurrency."""

    def ask(self, adapter: AdapterName, prompts: Sequence[Sequence[Message]], *, max_tokens: int, concurrency: int) -> Sequence[Answer]:
        """One answer per prompt, in order, at temperature 0; a failed one carries its status and error."""


class AdapterServer(Protocol):
    """One vLLM replica. Only the release controller holds one."""

    def healthy(self) -> bool:
        """It answers."""

    def listed(self) -> Mapping[AdapterName, str]:
        """Adapters it lists, with their paths. The base is not among them."""

    def load(self, name: AdapterName, path: str) -> None:
        """Raises NotLoaded with the server's reason."""

    def unload(self, name: AdapterName) -> None:
        """Unknown names are fine."""

    def log_probabilities(self, model: AdapterName, items: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Sequence[Sequence[float]]:
        """For each (prompt ids, answer ids): the log-probability of each answer token."""


class Gateways(Protocol):
    """The gateways' admin ports."""

    def applied_versions(self, workload: WorkloadId) -> Mapping[str, int]:
        """Route version in force, per gateway that answers."""

    def push(self, route: Route) -> Mapping[str, bool]:
        """Tells each gateway directly; True where it is in force."""
