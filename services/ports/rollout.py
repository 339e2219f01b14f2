"""Releases and routes in the ledger, and the model servers."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from flywheel.ids import AdapterName, ReleaseId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.rollout.release import Release, Route
from flywheel.rollout.shadow import ShadowCounts


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

    def requests(self, workload: WorkloadId) -> Mapping[str, int]:
        """Chat requests ``with_session`` and ``without_session`` since the gateways started; of those that answer, added up."""

    def push(self, route: Route) -> Mapping[str, bool]:
        """Tells each gateway directly; True where it is in force."""


class ShadowReader(Protocol):
    """What became of mirrored requests."""

    def shadowed(self, *, workload: WorkloadId, adapter: AdapterName, since: datetime) -> ShadowCounts:
        """Requests mirrored to this adapter that arrived since a time."""
