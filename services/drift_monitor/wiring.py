"""The stores and rules of the drift monitor, built from settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from flywheel.drift.alarm_budget import BudgetPolicy
from flywheel.drift.judge import PreparedReference
from flywheel.drift.late_data import ReevaluationPolicy
from flywheel.drift.pinning import PinningPolicy
from flywheel.drift.thresholds import DriftPolicy
from flywheel.ids import WorkloadId
from flywheel.retention import ClockReading, Hold, RetentionPolicy
from flywheel.rollout.release import Route
from flywheel.traffic.features import COLUMNS
from flywheel.windows.pane import WindowPolicy
from services.integrations.evidently.reports import EvidentlyReports
from services.ports.alerts import AlertLedger
from services.ports.drift import DriftLedger, DriftReports
from services.ports.journal import Journal
from services.ports.old_records import OldRecords
from services.ports.traffic import TrafficReader
from services.process.machine import read_clock
from services.settings import Settings, Workload
from services.settings.pane_shapes import pane_shapes
from services.settings.policies import build_policies, retention_policy
from services.stores.database import open_ledger, open_traffic
from services.stores.ledger.alerts import LedgerAlerts
from services.stores.ledger.drift import LedgerDrift
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.old_ledger import OldLedger
from services.stores.ledger.records_held import RecordsHeld
from services.stores.ledger.releases import LedgerReleases
from services.stores.old_files import OldFiles
from services.stores.traffic.old_traffic import OldTraffic
from services.stores.traffic.traffic_store import TrafficStore


@dataclass(frozen=True, kw_only=True)
class DriftRules:
    """The drift settings of one workload."""

    windows: WindowPolicy
    drift: DriftPolicy
    pinning: PinningPolicy
    sample_rows: int
    budget: BudgetPolicy = field(default_factory=BudgetPolicy)
    late_data: ReevaluationPolicy = field(default_factory=ReevaluationPolicy)


@dataclass(frozen=True, kw_only=True)
class MonitorParts:
    """The stores, Evidently's worker and the rules that the steps use."""

    traffic: TrafficReader
    drift: DriftLedger
    alerts: AlertLedger
    journal: Journal
    reports: DriftReports
    route: Callable[[WorkloadId], Route | None]
    workloads: Mapping[WorkloadId, DriftRules]
    reports_folder: Path
    window_closed: Callable[[], None] = lambda: None  # called at each
    prepared: dict[tuple[object, ...], PreparedReference] = field(default_factory=dict)  # kept between ticks; see ``load_windows``
    ahead: dict[WorkloadId, str] = field(default_factory=dict)
    """Workloads whose newest closed window lies in the future, with a sentence that says so."""


@dataclass(frozen=True, kw_only=True)
class RetentionParts:
    """What old records are deleted from, by which policies. ``default``: for workloads that are not configured any more, and for what
    belongs to all."""

    stores: Sequence[OldRecords]
    policies: Mapping[WorkloadId, RetentionPolicy]
    default: RetentionPolicy
    holds: Callable[[WorkloadId], Sequence[Hold]]
    journal: Journal
    read_clock: Callable[[], ClockReading]


def retention_parts(settings: Settings, *, read_clock: Callable[[], ClockReading] = read_clock) -> RetentionParts:
    """The databases and the files, and what keeps old records in them."""
    ledger = open_ledger(settings.ledger_url)
    held, windows = RecordsHeld(ledger), LedgerDrift(ledger, topic=settings.kafka.topics.drift)

    def now() -> datetime:
        return read_clock().wall

    def workload_of(window_id: str) -> WorkloadId | None:
        window = windows.window(window_id)
        return window.workload if window is not None else None

    samples = {WorkloadId(name): workload.watch.sample_rows for name, workload in settings.workloads.items()}
    return RetentionParts(
        stores=(
            OldTraffic(open_traffic(settings.traffic_url), now=now),
            OldLedger(ledger),
            OldFiles(settings.data_dir, now=now, workload_of=workload_of),
        ),
        policies={WorkloadId(name): retention_policy(settings, name) for name in settings.workloads},
        default=retention_policy(settings),
        holds=lambda workload: held.holds(workload, sample_rows=samples.get(workload, 0)),
        journal=LedgerJournal(ledger),
        read_clock=read_clock,
    )


def monitor_parts(settings: Settings) -> tuple[MonitorParts, EvidentlyReports]:
    """The parts, and the worker to start and to close."""
    engine = open_ledger(settings.ledger_url)
    reports = EvidentlyReports(columns=COLUMNS)
    parts = MonitorParts(
        traffic=TrafficStore(open_traffic(settings.traffic_url), shapes=pane_shapes(settings)),
        drift=LedgerDrift(engine, topic=settings.kafka.topics.drift),
        alerts=LedgerAlerts(engine, topic=settings.kafka.topics.alerts),
        journal=LedgerJournal(engine),
        reports=reports,
        route=LedgerReleases(engine, topic=settings.kafka.topics.releases).route,
        workloads={WorkloadId(name): drift_rules(workload) for name, workload in settings.workloads.items()},
        reports_folder=settings.data_dir / "reports",
    )
    return parts, reports


def drift_rules(workload: Workload) -> DriftRules:
    """The workload's drift rules from its section in ``flywheel.yaml``."""
    policies = build_policies(workload)
    return DriftRules(
        windows=policies.windows,
        drift=policies.drift,
        pinning=policies.pinning,
        sample_rows=workload.watch.sample_rows,
        budget=policies.budget,
        late_data=policies.late_data,
    )


def open_journal(settings: Settings) -> Journal:
    """Where a flow that stands is told."""
    return LedgerJournal(open_ledger(settings.ledger_url))
