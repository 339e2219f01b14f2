"""``flywheel demo``: one full cycle on real parts, on a machine with two cores and no GPU."""
