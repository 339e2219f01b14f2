"""The process of one run, with a stand-in for the training libraries."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flywheel.errors import Refused
from flywheel.ids import AdapterName, RunId, SnapshotId
from flywheel.retraining.plan import TrainingPlan, TrainingPolicy
from flywheel.retraining.training_run import ProbeItem, Run, RunState
from flywheel.training_set.example import Example
from flywheel.training_set.snapshot import Snapshot
from flywheel.training_set.token_rows import LeftOut, LeftOutReason, RenderedRow, TokenRow
from services.ports.retraining import TrainedFiles
from services.stores.adapter_files import read_manifest, write_bundle
from services.trainer.train_one_run import perform
from services.trainer.wiring import RunParts
from tests.learning import ROUTER, ask
from tests.served_vllm import random_adapter

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = TrainingPlan(
    workload=ROUTER, base="base", base_digest="d", snapshot=SnapshotId("s"), method="lora-sft", policy=TrainingPolicy(rank=2, max_length=20)
)
RUN = Run(id=RunId("run-1"), workload=ROUTER, plan=PLAN, adapter=AdapterName("router-1"), state=RunState.TRAINING, requested_at=NOW)


class WritesRandomWeights:
    """A Trainer that learns nothing and notes its rows. A character is a token."""

    def __init__(self) -> None:
        self.trained: Sequence[TokenRow] = ()
        self.probed: Sequence[TokenRow] = ()

    def encoder(self, base_path: str) -> Callable[[str], Sequence[int]]:
        return lambda text: [ord(character) for character in text]

    def train(self, plan: TrainingPlan, rows: Sequence[TokenRow], *, base_path: str, out: str, progress: object) -> TrainedFiles:
        self.trained = rows
        random_adapter(Path(out), layers=1, width=4, rank=plan.policy.rank)
        return TrainedFiles(path=out, digest="", steps=1, seconds=1.0, metrics={"rows": len(rows)})

    def replay(self, rows: Sequence[TokenRow], *, base_path: str, adapter_path: str) -> tuple[ProbeItem, ...]:
        self.probed = rows
        return tuple(ProbeItem(prompt_ids=row.prompt_ids, answer_ids=row.answer_ids, replay=(-1.0,)) for row in rows)


class OneRun:
    """The part of both ledgers that a run needs."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def run(self, run_id: RunId) -> Run:
        return RUN

    def snapshot(self, snapshot_id: SnapshotId) -> tuple[Snapshot, str]:
        return self._snapshot, "path"


def parts(folder: Path, trainer: WritesRandomWeights, *, lengths: Sequence[int]) -> RunParts:
    """Rows with prompts of these lengths; a length of 0 is refused by the template."""
    examples = tuple(
        Example(id=f"x{at}", messages=ask("w" * length), completion="ok", entity="e", source="correction")
        for at, length in enumerate(lengths)
    )
    ledger: Any = OneRun(Snapshot(id=SnapshotId("s"), workload=ROUTER, cut_off=NOW, examples=examples))

    def render(example: Example) -> RenderedRow | LeftOut:
        prompt = example.messages[1].text
        refused = LeftOut(reason=LeftOutReason.REFUSED_BY_TEMPLATE, detail="roles must alternate")
        return RenderedRow(prompt=prompt, answer=f"{example.completion}|") if prompt else refused

    return RunParts(
        runs=ledger,
        training_sets=ledger,
        trainer=lambda: trainer,
        base_path=folder,
        render=lambda snapshot: render,
        probe_items=lambda run: 2,
        max_rank=8,
        adapters=folder / "adapters",
        digest_base=lambda path: "d",
        write_bundle=write_bundle,
        locked_folder=lambda path: (path.mkdir(parents=True), nullcontext(path))[1],
    )


def test_rows_that_do_not_fit_are_left_out_and_counted_in_the_manifest(tmp_path: Path) -> None:
    trainer = WritesRandomWeights()
    perform(RUN.id, parts(tmp_path, trainer, lengths=[3] * 18 + [30, 0]))
    assert len(trainer.trained) == 18
    assert [len(row.prompt_ids) for row in trainer.probed] == [3, 3]
    metrics = read_manifest(tmp_path / "adapters" / RUN.adapter)["metrics"]
    assert metrics == {"rows": 18, "rows_left_out": {"too_long": 1, "refused_by_template": 1}}


def test_nearly_all_rows_too_long_refuses_the_run_before_it_trains(tmp_path: Path) -> None:
    trainer = WritesRandomWeights()
    with pytest.raises(Refused, match=r"199 of 200 rows cannot be trained on.*199 too long \(33 tokens, at most 20\).*max_length"):
        perform(RUN.id, parts(tmp_path, trainer, lengths=[30] * 199 + [5]))
    assert trainer.trained == ()


def test_weights_that_are_nan_fail_the_run_with_the_tensor_s_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.stores.adapter_files import write_scaled_copy

    class Diverges(WritesRandomWeights):
        def train(self, plan: TrainingPlan, rows: Sequence[TokenRow], *, base_path: str, out: str, progress: object) -> TrainedFiles:
            files = super().train(plan, rows, base_path=base_path, out=f"{out}.good", progress=progress)
            write_scaled_copy(source=files.path, out=out, factor=float("nan"))
            return replace(files, path=out)

    with pytest.raises(Refused, match=r"not servable: weights hold NaN or infinity in 1 of 2 tensors, the first is .*lora_B"):
        perform(RUN.id, parts(tmp_path, Diverges(), lengths=[3] * 9))
    assert not (tmp_path / "adapters" / RUN.adapter).exists()


def test_a_complete_adapter_is_not_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "adapters" / RUN.adapter
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({}))
    trainer = WritesRandomWeights()
    perform(RUN.id, parts(tmp_path, trainer, lengths=[3] * 9))
    assert trainer.trained == ()
