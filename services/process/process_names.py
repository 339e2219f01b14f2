"""The daemon's processes, and the port on which each shows its health and metrics."""

from services.settings import Settings

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

HOSTED = ("drift_monitor", "alert_desk", "retrain_scheduler", "trainer", "gatekeeper", "release_controller")
"""Those that mostly wait: ``flywheel up`` runs them in one interpreter, ``services.cli.up.host``."""


def metrics_port(settings: Settings, process: str) -> int:
    """``http.metrics_port`` plus the process's index in PROCESSES."""
    return settings.http.metrics_port + PROCESSES.index(process)
