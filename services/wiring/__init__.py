"""From settings to parts, one straight line per process."""

from pathlib import Path

import schemas
from services.settings import Settings

SOURCE = Path(schemas.__file__).resolve().parent.parent / "deploy"


def deploy_dir() -> Path:
    """Migrations, topics, runbooks: beside the source, or inside the installed package."""
    return SOURCE


def metrics_port(settings: Settings, process: str) -> int:
    """Each process has its own port, by its place in PROCESSES."""
    return settings.http.metrics_port + PROCESSES.index(process)


PROCESSES = (
    "gateway",
    "api",
    "traffic_windower",
    "correction_desk",
    "drift_monitor",
    "alert_desk",
    "retrain_scheduler",
    "trainer",
    "gatekeeper",
    "release_controller",
)
"""In the order ``flywheel up`` starts them, after broker and vLLM."""
