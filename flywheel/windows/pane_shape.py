"""How a workload's traffic is cut into panes."""

from dataclasses import dataclass
from datetime import timedelta

from flywheel.windows.slices import SlicePolicy


@dataclass(frozen=True, kw_only=True)
class PaneShape:
    """The length of a pane, and the slices that are counted in it."""

    pane: timedelta
    slices: SlicePolicy
