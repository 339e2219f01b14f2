"""Shadow answers: recorded apart, read by nobody but the release controller."""

from datetime import datetime
from typing import Protocol

from flywheel.ids import AdapterName, WorkloadId
from flywheel.rollout.shadow import ShadowCounts


class ShadowReader(Protocol):
    """What became of mirrored requests."""

    def shadowed(self, *, workload: WorkloadId, adapter: AdapterName, since: datetime) -> ShadowCounts:
        """Requests mirrored to this adapter that arrived since a time."""
