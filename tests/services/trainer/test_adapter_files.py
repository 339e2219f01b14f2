"""An adapter's folder: complete or not there, and never other than its manifest says."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from flywheel.errors import CannotRun, Conflict, InvalidInput, Refused
from flywheel.ids import AdapterName, RunId, SnapshotId, WorkloadId
from flywheel.retraining.plan import TrainingPlan, TrainingPolicy
from flywheel.retraining.training_run import AdapterBundle, ProbeItem, Run, RunState
from services.stores.adapter_files import digest_base, locked_folder, read_bundle, read_probe, write_bundle, write_scaled_copy

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PLAN = TrainingPlan(
    workload=WorkloadId("router"), base="base", base_digest="d" * 64, snapshot=SnapshotId("s"), method="qlora-sft", policy=TrainingPolicy()
)
RUN = Run(id=RunId("run-1"), workload=PLAN.workload, plan=PLAN, adapter=AdapterName("router-1"), state=RunState.TRAINING, requested_at=NOW)
PROBE = (ProbeItem(prompt_ids=(1, 2), answer_ids=(3,), replay=(-0.5,)),)
PREFIX = "base_model.model.model.layers.0.self_attn.q_proj"


def staged(folder: Path, *, value: float = 1.0, **config: object) -> Path:
    folder.mkdir(parents=True)
    content = {"peft_type": "LORA", "r": 2, "bias": "none", "target_modules": ["q_proj"], **config}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    weights = {f"{PREFIX}.lora_A.weight": np.ones((2, 4), np.float32), f"{PREFIX}.lora_B.weight": np.full((4, 2), value, np.float32)}
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def write(staged_at: Path, target: Path, *, max_rank: int = 16, probe: tuple[ProbeItem, ...] = PROBE) -> AdapterBundle:
    return write_bundle(staged=staged_at, target=target, run=RUN, probe=probe, max_rank=max_rank, facts={"steps": 60}, now=NOW)


def test_a_bundle_comes_back_as_it_was_written(tmp_path: Path) -> None:
    bundle = write(staged(tmp_path / "work"), tmp_path / "adapters" / "router-1")
    assert bundle == read_bundle(tmp_path / "adapters" / "router-1")
    assert (bundle.name, bundle.run, bundle.made_at) == ("router-1", "run-1", NOW)
    assert read_probe(bundle.path) == PROBE
    assert not (tmp_path / "work").exists()


def test_what_the_engine_refuses_never_becomes_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="rank 32"):
        write(staged(tmp_path / "work", r=32), tmp_path / "adapters" / "router-1")
    assert not (tmp_path / "adapters").exists()


def test_an_adapter_without_a_probe_never_becomes_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no probe"):
        write(staged(tmp_path / "work"), tmp_path / "adapters" / "router-1", probe=())


def test_a_second_folder_of_one_name_must_hold_the_same_weights(tmp_path: Path) -> None:
    target = tmp_path / "adapters" / "router-1"
    first = write(staged(tmp_path / "a"), target)
    assert write(staged(tmp_path / "b"), target) == first
    with pytest.raises(Conflict, match="other weights"):
        write(staged(tmp_path / "c", value=2.0), target)


def test_a_changed_file_is_found(tmp_path: Path) -> None:
    target = tmp_path / "adapters" / "router-1"
    write(staged(tmp_path / "a"), target)
    (target / "adapter_config.json").write_text("{}")
    with pytest.raises(InvalidInput, match=r"SHA-256 differs from manifest\.json"):
        read_bundle(target)


def test_a_half_written_folder_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is incomplete"):
        read_bundle(staged(tmp_path / "half"))


def test_a_scaled_copy_changes_lora_b_only(tmp_path: Path) -> None:
    source = staged(tmp_path / "good")
    write_scaled_copy(source=source, out=tmp_path / "bad", factor=2.0)
    before, after = load_file(source / "adapter_model.safetensors"), load_file(tmp_path / "bad" / "adapter_model.safetensors")
    assert np.array_equal(after[f"{PREFIX}.lora_B.weight"], 2 * before[f"{PREFIX}.lora_B.weight"])
    assert np.array_equal(after[f"{PREFIX}.lora_A.weight"], before[f"{PREFIX}.lora_A.weight"])


def test_the_base_is_known_by_its_files_and_by_nothing_else(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
        (tmp_path / name / "tokenizer.json").write_text("{}")
    (tmp_path / "two" / "notes.txt").write_text("not part of it")
    assert digest_base(tmp_path / "one") == digest_base(tmp_path / "two")
    (tmp_path / "two" / "chat_template.jinja").write_text("another template")
    assert digest_base(tmp_path / "one") != digest_base(tmp_path / "two")


def test_a_folder_without_weights_is_no_base(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="no model weights"):
        digest_base(tmp_path)


def test_two_processes_never_train_one_run_at_once(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "run-1"), pytest.raises(CannotRun, match="another process"), locked_folder(tmp_path / "run-1"):
        pass
    with locked_folder(tmp_path / "run-1"):
        pass
