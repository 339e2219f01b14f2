"""The plan of a training run: everything that determines the bytes of its adapter.

In: snapshot, base, policy. Out: a TrainingPlan. Training is not done here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from flywheel.ids import AdapterName, SnapshotId, WorkloadId
from flywheel.training_set.curate import CurationPolicy


@dataclass(frozen=True, kw_only=True)
class TrainingPolicy:
    """The hyper-parameters that the settings can change; ``deploy/docs/training.md`` explains the defaults."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ("all-linear",)
    learning_rate: float = 2e-4
    steps: int = 60
    batch: int = 4
    warmup_steps: int = 5
    max_length: int = 512  # tokens of prompt and answer
    seed: int = 7
    threads: int = 2  # part of the plan: another number of threads gives slightly different weights
    quantization: Literal["nf4", "none"] = "nf4"
    general_share: float = CurationPolicy.general_share


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Everything that determines the adapter's bytes."""

    workload: WorkloadId
    base: str  # served name of the base model
    base_digest: str  # SHA-256 over the base's weight files, tokenizer and template
    snapshot: SnapshotId
    method: str  # "qlora-sft"; "edited" for an adapter made from another one
    policy: TrainingPolicy
    versions: Mapping[str, str] = field(default_factory=dict)  # packages and code
    parent: AdapterName | None = None
    edit: str = ""  # for "edited": what was done to the parent


def make_plan(
    *, snapshot: SnapshotId, workload: WorkloadId, base: str, base_digest: str, policy: TrainingPolicy, versions: Mapping[str, str]
) -> TrainingPlan:
    """The plan of fine-tuning the base model on one snapshot."""
    return TrainingPlan(
        workload=workload,
        base=base,
        base_digest=base_digest,
        snapshot=snapshot,
        method="qlora-sft" if policy.quantization == "nf4" else "lora-sft",
        policy=policy,
        versions=dict(versions),
    )


def make_edited_plan(*, parent: AdapterName, parent_plan: TrainingPlan, edit: str) -> TrainingPlan:
    """The plan of an adapter made from another one's weights without training, to rehearse a bad release."""
    return replace(parent_plan, method="edited", parent=parent, edit=edit)
