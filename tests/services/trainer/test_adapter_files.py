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
from services.stores.adapter_files import (
    digest_base,
    locked_folder,
    read_bundle,
    read_probe,
    why_not_servable,
    write_bundle,
    write_scaled_copy,
)

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


def written_raw(path: Path, kind: str, values: bytes) -> None:
    """A safetensors file of one tensor in any of its types; the header is not aligned, as other writers leave it."""
    name = f"{PREFIX}.lora_A.weight"
    header = json.dumps({name: {"dtype": kind, "shape": [1], "data_offsets": [0, len(values)]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + values)


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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_with_nan_or_infinity_never_become_a_bundle(tmp_path: Path, value: float) -> None:
    with pytest.raises(Refused, match=rf"not servable: weights hold NaN or infinity in 1 of 2 tensors, the first is {PREFIX}\.lora_B"):
        write(staged(tmp_path / "work", value=value), tmp_path / "adapters" / "router-1")
    assert not (tmp_path / "adapters").exists()


def test_an_adapter_under_which_the_model_computes_nan_never_becomes_a_bundle(tmp_path: Path) -> None:
    probe = (ProbeItem(prompt_ids=(1, 2), answer_ids=(3,), replay=(float("nan"),)),)
    with pytest.raises(Refused, match="computes NaN or infinity"):
        write(staged(tmp_path / "work"), tmp_path / "adapters" / "router-1", probe=probe)


@pytest.mark.parametrize(
    ("kind", "values", "finite"),
    [
        ("F64", np.array([1.0, -2.0]).tobytes(), True),
        ("F64", np.array([1.0, np.inf]).tobytes(), False),
        ("F32", np.array([3.4e38], np.float32).tobytes(), True),
        ("F32", np.array([np.nan], np.float32).tobytes(), False),
        ("F16", np.array([65504.0], np.float16).tobytes(), True),
        ("F16", np.array([-np.inf], np.float16).tobytes(), False),
        ("BF16", b"\x7f\x7f\x7f\xff", True),  # the largest and the smallest bfloat16
        ("BF16", b"\x80\x3f\xc0\x7f", False),  # 1 and NaN
        ("I32", np.array([0x7F800000], np.int32).tobytes(), True),  # an integer, whatever its bits
        ("F32", b"", True),
    ],
)
def test_nan_and_infinity_are_seen_in_every_type_of_weights(tmp_path: Path, kind: str, values: bytes, finite: bool) -> None:
    folder = staged(tmp_path / "adapter")
    written_raw(folder / "adapter_model.safetensors", kind, values)
    assert (why_not_servable(folder, max_rank=16) == ()) is finite


@pytest.mark.parametrize(
    "content", [b"", b"abc", b"\xff" * 40, (2).to_bytes(8, "little") + b"[]", (9).to_bytes(8, "little") + b'{"a": {}}']
)
def test_a_file_that_holds_no_tensors_is_named(tmp_path: Path, content: bytes) -> None:
    (staged(tmp_path / "adapter") / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(InvalidInput, match="is not a safetensors file"):
        why_not_servable(tmp_path / "adapter", max_rank=16)


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    weights = staged(tmp_path / "adapter") / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    with pytest.raises(InvalidInput, match="ends before its last tensor"):
        why_not_servable(tmp_path / "adapter", max_rank=16)


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
