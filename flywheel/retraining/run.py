"""A training run and its states: queued -> training -> trained, or failed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flywheel.ids import AdapterName, RunId, WorkloadId
from flywheel.retraining.plan import TrainingPlan


class RunState(StrEnum):
    """Where a run stands."""

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
    """A trained adapter on disk. ``path`` holds adapter_config.json, adapter_model.safetensors, manifest.json, probe.json."""

    name: AdapterName
    workload: WorkloadId
    run: RunId
    path: str
    digest: str  # SHA-256 of adapter_model.safetensors
    base_digest: str
    made_at: datetime


@dataclass(frozen=True, kw_only=True)
class ProbeItem:
    """A prompt with an answer whose log-probabilities tell which weights serve. ``replay[i]`` belongs to ``answer_ids[i]``."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    replay: tuple[float, ...]  # natural log, base + adapter in bf16, made once at the end of training
