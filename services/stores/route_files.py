"""The gateway's last routes, one file per workload."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import orjson

from flywheel.errors import InvalidInput
from flywheel.rollout.release import Route
from services.ports.route_on_the_wire import from_wire, to_wire


class RouteFiles:
    """The last routes in force. With everything else down, the gateway serves by these."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, route: Route) -> None:
        """Writes a temporary file and renames it, so that a kill leaves the old file or the new one."""
        self._directory.mkdir(parents=True, exist_ok=True)
        descriptor, made = tempfile.mkstemp(dir=self._directory, prefix=f".{route.workload}-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(orjson.dumps(to_wire(route), option=orjson.OPT_INDENT_2))
                file.flush()
                os.fsync(file.fileno())
            os.replace(made, self._directory / f"{route.workload}.json")
        except OSError:
            Path(made).unlink(missing_ok=True)
            raise

    def load(self) -> tuple[Sequence[Route], Sequence[str]]:
        """The routes, and one sentence for each file that cannot be read."""
        routes, unreadable = [], []
        for path in sorted(self._directory.glob("*.json")):
            try:
                routes.append(from_wire(orjson.loads(path.read_bytes())))
            except (OSError, orjson.JSONDecodeError, InvalidInput) as error:
                unreadable.append(f"{path}: {error}")
        return routes, unreadable
