"""``flywheel demo``: one full turn of the wheel on real parts, on a machine with two cores and no GPU."""

from services.cli.demo.story import demo

__all__ = ["demo"]
