"""The parts of the release controller: the only process that loads and unloads adapters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from flywheel.ids import WorkloadId
from flywheel.retraining.training_run import ProbeItem
from flywheel.rollout.next_action import Mode, RolloutPolicy
from services.integrations.gateway.admin import GatewayAdmin
from services.integrations.vllm.adapter_server import VllmAdapters
from services.ports.gate import GateLedger
from services.ports.journal import Journal
from services.ports.retraining import RunLedger
from services.ports.rollout import AdapterServer, Gateways, ReleaseLedger, ShadowReader
from services.ports.traffic import TrafficReader
from services.ports.work_queue import WorkQueue
from services.process.process_names import gateway_urls
from services.settings import Settings, Workload
from services.settings.pane_shapes import pane_shapes
from services.settings.policies import build_policies
from services.settings.secrets import serving_key
from services.stores.adapter_files import read_probe, why_not_servable
from services.stores.database import open_ledger, open_traffic
from services.stores.database_changes import Changes
from services.stores.ledger.gates import LedgerGates
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.releases import LedgerReleases
from services.stores.ledger.runs import LedgerRuns
from services.stores.ledger.work_queue import LedgerWorkQueue
from services.stores.tokens import internal_key
from services.stores.traffic.shadow_counts import RecordedShadows
from services.stores.traffic.traffic_store import TrafficStore

DRAIN = timedelta(seconds=60)  # how long an adapter that left the route stays loaded, for requests in flight


@dataclass(frozen=True, kw_only=True)
class ReleaseRules:
    """One workload, as the controller needs it."""

    id: WorkloadId
    alias: str
    mode: Mode
    policy: RolloutPolicy
    probe_items: int


@dataclass(frozen=True, kw_only=True)
class ControllerParts:
    """The controller's stores, integrations and settings."""

    workloads: Mapping[WorkloadId, ReleaseRules]
    releases: ReleaseLedger
    gates: GateLedger
    runs: RunLedger
    journal: Journal
    work: WorkQueue
    traffic: TrafficReader
    shadows: ShadowReader
    gateways: Gateways
    server: AdapterServer
    read_probe: Callable[[str], tuple[ProbeItem, ...]]  # raises InvalidInput
    why_not_servable: Callable[[str], tuple[str, ...]]  # of the adapter in a folder; raises InvalidInput
    lora_slots: int  # adapters that the server can hold at a time
    drain: timedelta = DRAIN


def controller_parts(settings: Settings) -> ControllerParts:
    """From the settings."""
    engine, traffic = open_ledger(settings.ledger_url), open_traffic(settings.traffic_url)
    return ControllerParts(
        workloads={WorkloadId(name): rules_of(WorkloadId(name), workload) for name, workload in settings.workloads.items()},
        releases=LedgerReleases(engine, topic=settings.kafka.topics.releases),
        gates=LedgerGates(engine),
        runs=LedgerRuns(engine),
        journal=LedgerJournal(engine),
        work=LedgerWorkQueue(engine),
        traffic=TrafficStore(traffic, shapes=pane_shapes(settings)),
        shadows=RecordedShadows(traffic),
        gateways=GatewayAdmin(urls=gateway_urls(settings), key=internal_key(settings.data_dir)),
        server=VllmAdapters(url=settings.serving_url, key=serving_key(settings)),
        read_probe=read_probe,
        why_not_servable=lambda path: why_not_servable(path, max_rank=settings.serving.max_lora_rank),
        lora_slots=settings.serving.max_loras,
    )


def rules_of(name: WorkloadId, workload: Workload) -> ReleaseRules:
    """From its section in ``flywheel.yaml``."""
    return ReleaseRules(
        id=name,
        alias=workload.alias,
        mode=workload.mode,
        policy=build_policies(workload).rollout,
        probe_items=workload.release.probe_items,
    )


def ledger_changes(settings: Settings) -> Changes:
    """What wakes a loop."""
    return Changes(settings.ledger_url)
