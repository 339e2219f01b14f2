"""Runs, adapters, and the trainer itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flywheel.ids import AdapterName, RunId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.retraining.plan import TrainingPlan
from flywheel.retraining.training_run import AdapterBundle, ProbeItem, Run
from flywheel.training_set.token_rows import Encode, TokenRow

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""An adapter's files, as PEFT names them and vLLM reads them."""


@dataclass(frozen=True, kw_only=True)
class TrainedFiles:
    """What a training left in its folder."""

    path: str
    digest: str
    steps: int
    seconds: float
    metrics: Mapping[str, object]


class RunLedger(Protocol):
    """Runs and adapters in the ledger."""

    def save_run(self, run: Run, entry: JournalEntry) -> None:
        """The run's current state with its journal line."""

    def run(self, run_id: RunId) -> Run | None:
        """One, or None."""

    def runs(self, workload: WorkloadId) -> Sequence[Run]:
        """Newest first."""

    def register_adapter(self, bundle: AdapterBundle, entry: JournalEntry) -> None:
        """Names are immutable: raises Conflict when the name exists with other weights."""

    def adapter(self, name: AdapterName) -> AdapterBundle | None:
        """One, or None."""

    def adapters(self, workload: WorkloadId) -> Sequence[AdapterBundle]:
        """Newest first."""


class Trainer(Protocol):
    """QLoRA by TRL, PEFT and bitsandbytes; imported only in the process of a run."""

    def encoder(self, base_path: str) -> Encode:
        """The base model's tokenizer."""

    def train(
        self, plan: TrainingPlan, rows: Sequence[TokenRow], *, base_path: str, out: str, progress: Callable[[int, int, float], None]
    ) -> TrainedFiles:
        """Writes the adapter into ``out`` (complete or not at all); resumes from checkpoints beside it. progress(step, of, loss)."""

    def replay(self, rows: Sequence[TokenRow], *, base_path: str, adapter_path: str) -> tuple[ProbeItem, ...]:
        """Log-probabilities of the answers under base + adapter in bf16: what serving must reproduce."""
