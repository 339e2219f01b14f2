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


def gateway_names(settings: Settings) -> tuple[str, ...]:
    """gateway, gateway-2, gateway-3 ...: one for each of ``gateway.processes``."""
    return tuple(numbered("gateway", number) for number in range(1, settings.gateway.processes + 1))


def numbered(name: str, number: int) -> str:
    """The name of one of several processes of a kind, and of its files."""
    return name if number == 1 else f"{name}-{number}"


def gateway_port(settings: Settings, number: int) -> int:
    """Of one gateway process alone: its health, its metrics and its routes. The users' port is shared by all."""
    return metrics_port(settings, "gateway") if number == 1 else settings.http.metrics_port + len(PROCESSES) + number - 2


def gateway_urls(settings: Settings) -> tuple[str, ...]:
    """Each gateway process alone."""
    return tuple(f"http://{settings.http.host}:{gateway_port(settings, number)}" for number in range(1, settings.gateway.processes + 1))
