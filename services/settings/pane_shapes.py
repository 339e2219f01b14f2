"""How each workload's traffic is cut into panes."""

from flywheel.ids import WorkloadId
from flywheel.windows.pane_shape import PaneShape
from services.settings.policies import build_policies
from services.settings.sections import Settings


def pane_shapes(settings: Settings) -> dict[WorkloadId, PaneShape]:
    """The pane shape of each workload."""
    policies = {WorkloadId(name): build_policies(workload) for name, workload in settings.workloads.items()}
    return {workload: PaneShape(pane=policy.windows.pane, slices=policy.slices) for workload, policy in policies.items()}
