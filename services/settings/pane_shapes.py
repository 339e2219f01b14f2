"""How each workload's traffic is cut into panes."""

from datetime import timedelta

from flywheel.ids import WorkloadId
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.slices import SlicePolicy
from services.settings.sections import Settings


def pane_shapes(settings: Settings) -> dict[WorkloadId, PaneShape]:
    """By workload."""
    return {
        WorkloadId(name): PaneShape(
            pane=timedelta(seconds=workload.watch.pane_seconds),
            slices=SlicePolicy(dimensions=workload.slices.dimensions, protected=workload.slices.protected, top=workload.slices.top),
        )
        for name, workload in settings.workloads.items()
    }
