"""The trainer's parts, and those of the process of one run."""

import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from flywheel.errors import CannotRun
from flywheel.ids import RunId
from flywheel.retraining.training_run import AdapterBundle, Run
from flywheel.training_set.snapshot import Snapshot
from flywheel.training_set.token_rows import Render
from services.integrations.trl.training_process import TrainingProcess
from services.integrations.vllm.chat_template import served_template
from services.integrations.vllm.training_text import training_row
from services.ports.journal import Journal
from services.ports.retraining import RunLedger, Trainer
from services.ports.training_set import TrainingSetLedger
from services.ports.work_queue import WorkQueue
from services.settings import Settings, Training
from services.stores.adapter_files import digest_base, locked_folder, read_bundle, read_manifest, write_bundle
from services.stores.database import open_ledger
from services.stores.database_changes import Changes
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.runs import LedgerRuns
from services.stores.ledger.training_sets import LedgerTrainingSets
from services.stores.ledger.work_queue import LedgerWorkQueue


class RunProcess(Protocol):
    """The process that trains one run."""

    step: int
    steps: int
    loss: float
    refused: str

    @property
    def returncode(self) -> int | None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What a complete run left on disk."""

    bundle: AdapterBundle
    steps: int
    seconds: float
    metrics: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class TrainerParts:
    """The parts of the trainer's process."""

    worker: str
    runs: RunLedger
    work: WorkQueue
    start: Callable[[Run], RunProcess]
    finished: Callable[[Run], FinishedRun]
    """Raises InvalidInput when the run's adapter is not complete on disk."""


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """The parts of the process that trains one run."""

    runs: RunLedger
    training_sets: TrainingSetLedger
    trainer: Callable[[], Trainer]
    base_path: Path
    render: Callable[[Snapshot], Render]
    """How a row of the snapshot is served; raises CannotRun or InvalidInput where no chat template can be used."""
    probe_items: Callable[[Run], int]
    max_rank: int
    adapters: Path
    digest_base: Callable[[str | Path], str]
    write_bundle: Callable[..., AdapterBundle]
    locked_folder: Callable[[Path], AbstractContextManager[Path]]


def trainer_parts(settings: Settings, config: Path | None) -> TrainerParts:
    """For ``python -m services.trainer``."""
    engine = open_ledger(settings.ledger_url)
    adapters = settings.data_dir / "adapters"

    def start(run: Run) -> RunProcess:
        return TrainingProcess(run.id, config=config, threads=run.plan.policy.threads)

    def finished(run: Run) -> FinishedRun:
        folder = adapters / run.adapter
        bundle, manifest = read_bundle(folder), read_manifest(folder)
        return FinishedRun(
            bundle=bundle,
            steps=int(manifest.get("steps", 0)),
            seconds=float(manifest.get("seconds", 0.0)),
            metrics=dict(manifest.get("metrics", {})),
        )

    return TrainerParts(
        worker=f"trainer-{os.getpid()}-{secrets.token_hex(4)}",
        runs=LedgerRuns(engine),
        work=LedgerWorkQueue(engine),
        start=start,
        finished=finished,
    )


def run_parts(settings: Settings) -> RunParts:
    """For ``python -m services.trainer.train_one_run``."""
    if settings.serving.model is None:
        raise CannotRun(
            "the base model's files are not known",
            where="serving.model",
            remedy="Set serving.model to the folder of the model that is served.",
        )
    template = served_template(model=settings.serving.model, **settings.serving.template_choice)

    def trainer() -> Trainer:
        from services.integrations.trl.qlora import TrlQlora

        return TrlQlora()

    def probe_items(run: Run) -> int:
        workload = settings.workloads.get(run.workload)
        return (workload.training if workload else Training()).probe_items  # a workload can leave the configuration while its run waits

    engine = open_ledger(settings.ledger_url)
    return RunParts(
        runs=LedgerRuns(engine),
        training_sets=LedgerTrainingSets(engine),
        trainer=trainer,
        base_path=settings.serving.model,
        render=lambda snapshot: partial(training_row, template.template, now=snapshot.cut_off),
        probe_items=probe_items,
        max_rank=settings.serving.max_lora_rank,
        adapters=settings.data_dir / "adapters",
        digest_base=lambda path: digest_base(path, template=template.digest),
        write_bundle=write_bundle,
        locked_folder=locked_folder,
    )


def run_folder(adapters: Path, run_id: RunId) -> Path:
    """Where a run keeps its checkpoints: beside the finished adapters, so that completing one is a rename."""
    return adapters / ".runs" / run_id


def ledger_changes(settings: Settings) -> Changes:
    """Signals changes of the ledger, which wake the loop."""
    return Changes(settings.ledger_url)


def open_journal(settings: Settings) -> Journal:
    """Where a flow that stands is told."""
    return LedgerJournal(open_ledger(settings.ledger_url))
