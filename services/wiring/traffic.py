"""The record of traffic, from settings."""

from datetime import timedelta

from flywheel.ids import WorkloadId
from flywheel.windows.slices import SlicePolicy
from services.adapters.traffic_store import PaneShape, TrafficStore
from services.settings import Settings
from services.wiring.ledger import open_traffic


def traffic_store(settings: Settings) -> TrafficStore:
    """Recorder and reader in one, on traffic.db."""
    shapes = {
        WorkloadId(name): PaneShape(
            pane=timedelta(seconds=workload.watch.pane_seconds),
            slices=SlicePolicy(dimensions=workload.slices.dimensions, protected=workload.slices.protected, top=workload.slices.top),
        )
        for name, workload in settings.workloads.items()
    }
    return TrafficStore(open_traffic(settings), shapes=shapes)
