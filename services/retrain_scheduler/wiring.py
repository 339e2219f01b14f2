"""The retrain scheduler's parts."""

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flywheel.comparison import ComparisonPolicy
from flywheel.errors import CannotRun, InvalidSettings
from flywheel.ids import WorkloadId
from flywheel.retraining.plan import TrainingPolicy
from flywheel.retraining.readiness import ReadinessPolicy
from flywheel.retraining.trigger import TriggerPolicy
from flywheel.training_set.curate import CurationPolicy
from flywheel.training_set.example import Example
from flywheel.training_set.snapshot import Snapshot
from flywheel.training_set.token_rows import TokenRows, token_rows
from services.integrations.apscheduler.schedule import Appointment, Schedule
from services.integrations.apscheduler.schedule import PlannedAnew as PlannedAnew
from services.integrations.vllm.chat_template import served_template
from services.integrations.vllm.tokenizer_file import read_encoder
from services.integrations.vllm.training_text import training_row
from services.ports.alerts import AlertLedger
from services.ports.corrections import CorrectionLedger
from services.ports.journal import Journal
from services.ports.regression_suite import SuiteLedger
from services.ports.retraining import RunLedger
from services.ports.training_set import TrainingSetLedger
from services.ports.work_queue import WorkQueue
from services.settings import Settings, Workload
from services.settings.policies import build_policies
from services.stores.adapter_files import digest_base
from services.stores.database import open_ledger
from services.stores.database_changes import Changes
from services.stores.general_examples import read_general_rows
from services.stores.ledger.alerts import LedgerAlerts
from services.stores.ledger.corrections import LedgerCorrections
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.regression_suite import LedgerSuite
from services.stores.ledger.runs import LedgerRuns
from services.stores.ledger.training_sets import LedgerTrainingSets
from services.stores.ledger.work_queue import LedgerWorkQueue
from services.stores.snapshot_files import write_snapshot

PINNED_PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "flywheel-daemon")
JOBS = "services.retrain_scheduler.jobs"


@dataclass(frozen=True, kw_only=True)
class TrainedWorkload:
    """The policies by which a workload is retrained."""

    id: WorkloadId
    mode: str
    trigger: TriggerPolicy
    readiness: ReadinessPolicy
    training: TrainingPolicy
    curation: CurationPolicy
    comparison: ComparisonPolicy
    general_file: Path | None


@dataclass(frozen=True, kw_only=True)
class SchedulerParts:
    """``base_digest`` is None when the base model's files are not on this machine."""

    worker: str
    workloads: Mapping[WorkloadId, TrainedWorkload]
    alerts: AlertLedger
    corrections: CorrectionLedger
    suite: SuiteLedger
    training_sets: TrainingSetLedger
    runs: RunLedger
    work: WorkQueue
    journal: Journal
    write_snapshot: Callable[[Snapshot], Path]
    read_general_rows: Callable[[Path], Sequence[Example]]
    base_digest: Callable[[], str | None]
    count_rows: Callable[[Snapshot, TrainingPolicy], TokenRows | str]
    """The rows as they would be trained on, or why they cannot be counted here: the trainer counts them again."""
    versions: Mapping[str, str]


def scheduler_parts(settings: Settings) -> SchedulerParts:
    """For ``python -m services.retrain_scheduler`` and for each of its jobs."""
    engine = open_ledger(settings.ledger_url)
    folder = settings.data_dir / "snapshots"
    return SchedulerParts(
        worker=f"retrain-scheduler-{os.getpid()}-{secrets.token_hex(4)}",
        workloads={WorkloadId(name): trained_workload(WorkloadId(name), workload) for name, workload in settings.workloads.items()},
        alerts=LedgerAlerts(engine, topic=settings.kafka.topics.alerts),
        corrections=LedgerCorrections(engine),
        suite=LedgerSuite(engine),
        training_sets=LedgerTrainingSets(engine),
        runs=LedgerRuns(engine),
        work=LedgerWorkQueue(engine),
        journal=LedgerJournal(engine),
        write_snapshot=lambda snapshot: write_snapshot(snapshot, folder=folder),
        read_general_rows=read_general_rows,
        base_digest=lambda: base_digest(settings),
        count_rows=lambda snapshot, policy: count_rows(settings, snapshot, policy),
        versions={name: found for name in PINNED_PACKAGES if (found := _version(name))},
    )


def base_digest(settings: Settings) -> str | None:
    """Of the base model and the chat template that serves. None when the model's files are not on this machine."""
    model = settings.serving.model
    return (
        digest_base(model, template=served_template(model=model, **settings.serving.template_choice).digest)
        if model is not None and model.is_dir()
        else None
    )


def count_rows(settings: Settings, snapshot: Snapshot, policy: TrainingPolicy) -> TokenRows | str:
    """With the tokenizer's file alone: training libraries are not needed here. Raises InvalidInput for an unusable chat template."""
    model = settings.serving.model
    if model is None or not model.is_dir():
        return "the base model's files are not on this machine"
    try:
        encode, template = read_encoder(model), served_template(model=model, **settings.serving.template_choice)
    except CannotRun as error:
        return str(error)
    render = partial(training_row, template.template, now=snapshot.cut_off)
    return token_rows(snapshot.examples, render=render, encode=encode, max_length=policy.max_length)


def trained_workload(workload_id: WorkloadId, workload: Workload) -> TrainedWorkload:
    """From its section in ``flywheel.yaml``."""
    policies = build_policies(workload)
    return TrainedWorkload(
        id=workload_id,
        mode=workload.mode,
        trigger=policies.trigger,
        readiness=policies.readiness,
        training=policies.training,
        curation=policies.curation,
        comparison=policies.acceptance.comparison,
        general_file=workload.training.general_file,
    )


def check_interval(settings: Settings) -> timedelta:
    """The shortest ``trigger.check_seconds`` of all workloads. Raises InvalidSettings without a workload."""
    if not settings.workloads:
        raise InvalidSettings("there is no workload", where="workloads", remedy="Describe at least one workload.")
    return timedelta(seconds=min(workload.trigger.check_seconds for workload in settings.workloads.values()))


def calendar_schedule(settings: Settings, config: Path | None, *, on_error: Callable[[BaseException], None]) -> Schedule:
    """One persistent scheduled job for each workload with a ``trigger.calendar``."""
    named = str(config.resolve()) if config is not None else ""
    appointments = [
        Appointment(
            id=f"calendar-{name}", function=f"{JOBS}:consider_by_calendar", arguments=(named, name), crontab=workload.trigger.calendar
        )
        for name, workload in settings.workloads.items()
        if workload.trigger.calendar is not None
    ]
    return Schedule(settings.data_dir / "schedule.db", appointments, on_error=on_error)


def _version(package: str) -> str | None:
    """None where it is not installed; a plan made on a host without training libraries leaves them out."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def ledger_changes(settings: Settings) -> Changes:
    """Signals changes of the ledger, which wake the loop."""
    return Changes(settings.ledger_url)
