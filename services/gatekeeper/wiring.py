"""The gatekeeper's stores, integrations and settings."""

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flywheel.comparison import ComparisonPolicy
from flywheel.gate.axis_order import GatePolicy
from flywheel.ids import AdapterName, WorkloadId
from services.integrations.openai.answers import OpenAiAnswers
from services.integrations.vllm.chat_template import served_template
from services.ports.gate import Answers, GateLedger
from services.ports.journal import Journal
from services.ports.regression_suite import SuiteLedger
from services.ports.retraining import RunLedger
from services.ports.rollout import ReleaseLedger
from services.ports.training_set import TrainingSetLedger
from services.ports.work_queue import WorkQueue
from services.settings import Settings, Workload
from services.settings.policies import build_policies
from services.settings.secrets import serving_key
from services.stores.adapter_files import digest_base
from services.stores.database import open_ledger
from services.stores.database_changes import Changes
from services.stores.ledger.gates import LedgerGates
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.regression_suite import LedgerSuite
from services.stores.ledger.releases import LedgerReleases
from services.stores.ledger.runs import LedgerRuns
from services.stores.ledger.training_sets import LedgerTrainingSets
from services.stores.ledger.work_queue import LedgerWorkQueue


@dataclass(frozen=True, kw_only=True)
class GatedWorkload:
    """How a workload's arms are asked and judged."""

    id: WorkloadId
    policy: GatePolicy
    protected: Sequence[str]
    max_tokens: int
    comparison: ComparisonPolicy


@dataclass(frozen=True, kw_only=True)
class GatekeeperParts:
    """``base_digest`` is None when the base model's files are not on this machine."""

    worker: str
    workloads: Mapping[WorkloadId, GatedWorkload]
    gates: GateLedger
    releases: ReleaseLedger
    suite: SuiteLedger
    training_sets: TrainingSetLedger
    runs: RunLedger
    work: WorkQueue
    answers: Answers
    concurrency: int
    base_digest: Callable[[], str | None]


def gatekeeper_parts(settings: Settings) -> GatekeeperParts:
    """For ``python -m services.gatekeeper``."""
    engine = open_ledger(settings.ledger_url)
    gates = LedgerGates(engine)
    model = settings.serving.model
    digests: dict[str, str] = {}

    def base_digest() -> str | None:
        """Read once a process: a changed base is a restart of everything."""
        if model is None:
            return None
        if "base" not in digests:
            template = served_template(model=model, **settings.serving.template_choice)
            digests["base"] = digest_base(model, template=template.digest)
        return digests["base"]

    return GatekeeperParts(
        worker=f"gatekeeper-{os.getpid()}-{secrets.token_hex(4)}",
        workloads={WorkloadId(name): gated_workload(WorkloadId(name), workload) for name, workload in settings.workloads.items()},
        gates=gates,
        releases=LedgerReleases(engine, topic=settings.kafka.topics.releases),
        suite=LedgerSuite(engine),
        training_sets=LedgerTrainingSets(engine),
        runs=LedgerRuns(engine),
        work=LedgerWorkQueue(engine),
        answers=OpenAiAnswers(
            settings.serving_url,
            cache=gates,
            base_identity=lambda: base_digest() or settings.serving_url,
            key=serving_key(settings),
        ),
        concurrency=settings.serving.concurrency,
        base_digest=base_digest,
    )


def gated_workload(workload_id: WorkloadId, workload: Workload) -> GatedWorkload:
    """From its section in ``flywheel.yaml``."""
    policies = build_policies(workload)
    return GatedWorkload(
        id=workload_id,
        policy=policies.gate,
        protected=workload.slices.protected,
        max_tokens=workload.sampling.max_tokens,
        comparison=policies.acceptance.comparison,
    )


def champion_of(releases: ReleaseLedger, workload: WorkloadId, otherwise: AdapterName) -> AdapterName:
    """The adapter that serves now."""
    route = releases.route(workload)
    return route.champion if route is not None else otherwise


def ledger_changes(settings: Settings) -> Changes:
    """What wakes a loop."""
    return Changes(settings.ledger_url)


def open_journal(settings: Settings) -> Journal:
    """Where a flow that stands is told."""
    return LedgerJournal(open_ledger(settings.ledger_url))
