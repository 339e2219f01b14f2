"""A training run and its states: queued -> training -> trained, or failed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flywheel.ids import AdapterName, RunId, WorkloadId
from flywheel.retraining.plan import TrainingPlan


class RunState(StrEnum):
    """The states of a run."""

    QUEUED = "queued"
    TRAINING = "training"
    TRAINED = "trained"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One execution of a plan."""

    id: RunId
    workload: WorkloadId
    plan: TrainingPlan
    adapter: AdapterName
    state: RunState
    requested_at: datetime
    ended_at: datetime | None = None
    steps: int = 0
    seconds: float = 0.0
    reason: str = ""
    metrics: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AdapterBundle:
    """A trained adapter on disk. ``path`` contains adapter_config.json, adapter_model.safetensors, manifest.json, probe.json."""

    name: AdapterName
    workload: WorkloadId
    run: RunId
    path: str
    digest: str  # SHA-256 of adapter_model.safetensors
    base_digest: str
    made_at: datetime


@dataclass(frozen=True, kw_only=True)
class ProbeItem:
    """A prompt and an answer whose log-probabilities show which weights are served. ``replay[i]`` is that of ``answer_ids[i]``."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    replay: tuple[float, ...]  # natural logarithm, base and adapter in bf16, computed once at the end of training
