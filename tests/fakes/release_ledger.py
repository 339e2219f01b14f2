"""Releases and routes in memory; held to the same contract as the ledger on SQL."""

from collections.abc import Sequence

from flywheel.ids import ReleaseId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.rollout.release import CLOSED, Release, Route, route_line


class ReleasesInMemory:
    """A ReleaseLedger. ``lines`` are the journal's, ``published`` the routes in the order gateways would hear of them."""

    def __init__(self) -> None:
        self._releases: dict[ReleaseId, Release] = {}
        self._routes: dict[WorkloadId, Route] = {}
        self.lines: list[JournalEntry] = []
        self.published: list[Route] = []

    def release(self, release_id: ReleaseId) -> Release | None:
        return self._releases.get(release_id)

    def releases(self, workload: WorkloadId, *, open_only: bool = False) -> Sequence[Release]:
        mine = [release for release in self._releases.values() if release.workload == workload]
        return [release for release in reversed(mine) if not (open_only and release.state in CLOSED)]

    def save_release(self, release: Release, entry: JournalEntry, *, expected: Release | None, route: Route | None = None) -> bool:
        if self._releases.get(release.id) != expected or (route is not None and not self._follows(route)):
            return False
        self._releases[release.id] = release
        self.lines.append(entry)
        if route is not None:
            self._keep(route, route_line(route, actor=entry.actor, reason=entry.reason, at=entry.at, caused_by=release.id))
        return True

    def route(self, workload: WorkloadId) -> Route | None:
        return self._routes.get(workload)

    def routes(self) -> Sequence[Route]:
        return [self._routes[workload] for workload in sorted(self._routes)]

    def save_route(self, route: Route, entry: JournalEntry) -> bool:
        if not self._follows(route):
            return False
        self._keep(route, entry)
        return True

    def _follows(self, route: Route) -> bool:
        kept = self._routes.get(route.workload)
        return route.version == (kept.version if kept else 0) + 1

    def _keep(self, route: Route, entry: JournalEntry) -> None:
        self._routes[route.workload] = route
        self.lines.append(entry)
        self.published.append(route)
