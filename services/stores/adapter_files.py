"""Writes an adapter's folder atomically, reads it back, and computes the digest of the base model's files.

In: the two files that training wrote, the run, the probe. Out: a folder that a server may load:
adapter_config.json, adapter_model.safetensors, manifest.json, probe.json, README.md. Does not train.
"""

import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from flywheel.errors import CannotRun, Conflict, InvalidInput, Refused
from flywheel.ids import AdapterName, RunId, WorkloadId
from flywheel.retraining.servable import objections
from flywheel.retraining.training_run import AdapterBundle, ProbeItem, Run
from services.ports.retraining import ADAPTER_CONFIG, ADAPTER_WEIGHTS

MANIFEST, PROBE, CARD = "manifest.json", "probe.json", "README.md"
_EXPONENTS = {
    "F64": (np.uint64, np.uint64(0x7FF0_0000_0000_0000)),
    "F32": (np.uint32, np.uint32(0x7F80_0000)),
    "F16": (np.uint16, np.uint16(0x7C00)),
    "BF16": (np.uint16, np.uint16(0x7F80)),
}
"""Of the types of safetensors: an unsigned integer of the same width, and the bits of the exponent. NumPy has no bfloat16."""
_BASE_FILES = ("*.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


def digest_base(path: str | Path, *, template: str | None = None) -> str:
    """SHA-256 over names and contents of the base model's weights, tokenizer, chat template and configuration.

    Identifies the base of an adapter. ``template``: digest of the chat template that serves, where it is not the model's own.
    """
    folder = Path(path)
    files = sorted({file for pattern in _BASE_FILES for file in folder.glob(pattern)})
    if not any(file.suffix == ".safetensors" for file in files):
        raise CannotRun(
            "there are no model weights (*.safetensors)", where=str(folder), remedy="Set serving.model to the base model's folder."
        )
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}:{digest_file(file)}\n".encode())
    if template is not None:
        digest.update(f"served chat template:{template}\n".encode())
    return digest.hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of the bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bundle(
    *, staged: Path, target: Path, run: Run, probe: Sequence[ProbeItem], max_rank: int, facts: Mapping[str, object], now: datetime
) -> AdapterBundle:
    """Completes ``staged`` (adapter_config.json, adapter_model.safetensors) and renames it to ``target``.

    If ``target`` exists with the same weights, returns it unchanged. Raises Conflict if its weights differ, and Refused for an
    adapter that the serving engine cannot load.
    """
    reasons = why_not_servable(staged, max_rank=max_rank)
    if reasons:
        remedy = "Change the plan; where weights are not finite, lower training.learning_rate."
        raise Refused(f"this adapter is not servable: {'; '.join(reasons)}", where=str(staged), remedy=remedy)
    if not probe:
        raise Refused("there is no probe item", where=str(staged), remedy="Train on at least one example that fits the model's length.")
    if not all(math.isfinite(value) for item in probe for value in item.replay):
        reason = "with this adapter the base model computes NaN or infinity: its weights are too large"
        raise Refused(reason, where=str(staged), remedy="Lower training.learning_rate.")
    digest = digest_file(staged / ADAPTER_WEIGHTS)
    if target.exists():
        kept = read_bundle(target)
        if kept.digest != digest:
            remedy = "Keep the existing adapter; train a new run to serve other weights."
            raise Conflict("an adapter with this name exists and has other weights", where=str(target), value=digest[:16], remedy=remedy)
        return kept
    _write(staged / PROBE, {"items": [asdict(item) for item in probe]})
    manifest = {
        "adapter": run.adapter,
        "workload": run.workload,
        "run": run.id,
        "plan": asdict(run.plan),
        "base_digest": run.plan.base_digest,
        "files": {name: digest_file(staged / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS, PROBE)},
        "made_at": now.astimezone(UTC).isoformat(),
        **facts,
    }
    _write(staged / MANIFEST, manifest)
    (staged / CARD).write_text(_card(run, facts))
    for file in staged.iterdir():
        _fsync(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.rename(staged, target)
    _fsync(target.parent)
    return read_bundle(target)


def why_not_servable(path: str | Path, *, max_rank: int) -> tuple[str, ...]:
    """The reasons why the adapter in ``path`` cannot be served; none for a good one. Raises InvalidInput for files that cannot be read."""
    folder = Path(path)
    weights = folder / ADAPTER_WEIGHTS
    tensors = _tensors(weights)
    return objections(
        config=_read(folder / ADAPTER_CONFIG), tensors=list(tensors), not_finite=list(_not_finite(weights, tensors)), max_rank=max_rank
    )


def read_bundle(path: str | Path) -> AdapterBundle:
    """The adapter in ``path``. Raises InvalidInput if a file is missing or its SHA-256 differs from the manifest."""
    folder = Path(path)
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        found = digest_file(folder / name) if (folder / name).is_file() else "missing"
        if found != expected:
            raise InvalidInput("SHA-256 differs from manifest.json", where=str(folder / name), value=found[:16], remedy="Train again.")
    return AdapterBundle(
        name=AdapterName(manifest["adapter"]),
        workload=WorkloadId(manifest["workload"]),
        run=RunId(manifest["run"]),
        path=str(folder.resolve()),
        digest=manifest["files"][ADAPTER_WEIGHTS],
        base_digest=manifest["base_digest"],
        made_at=datetime.fromisoformat(manifest["made_at"]),
    )


def read_manifest(path: str | Path) -> Mapping[str, Any]:
    """The content of manifest.json."""
    content: dict[str, Any] = _read(Path(path) / MANIFEST)
    return content


def read_probe(path: str | Path) -> tuple[ProbeItem, ...]:
    """The probe items of the adapter in ``path``."""
    return tuple(
        ProbeItem(prompt_ids=tuple(item["prompt_ids"]), answer_ids=tuple(item["answer_ids"]), replay=tuple(item["replay"]))
        for item in _read(Path(path) / PROBE)["items"]
    )


def write_scaled_copy(*, source: str | Path, out: str | Path, factor: float) -> None:
    """Writes a copy of the adapter with every lora_B multiplied by ``factor``; 0 disables the adapter.

    Used to check that the gate rejects damaged adapters.
    """
    from safetensors.numpy import load_file, save_file

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(source) / ADAPTER_CONFIG, folder / ADAPTER_CONFIG)
    weights = load_file(Path(source) / ADAPTER_WEIGHTS)
    scaled = {name: weight * weight.dtype.type(factor) if "lora_B" in name else weight for name, weight in weights.items()}
    save_file(scaled, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


@contextmanager
def locked_folder(folder: Path) -> Iterator[Path]:
    """Holds an exclusive lock on the folder of one run until the process ends. Raises CannotRun when another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CannotRun("another process is training this run", where=str(folder), remedy="Wait until it ends.") from error
        yield folder


def _tensors(path: Path) -> Mapping[str, tuple[str, int, int]]:
    """(type, begin, end) of each tensor by name, in bytes of the file, from its header: 8 bytes of length, then JSON."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, size)))
        found = {
            str(name): (str(tensor["dtype"]), 8 + length + int(tensor["data_offsets"][0]), 8 + length + int(tensor["data_offsets"][1]))
            for name, tensor in header.items()
            if name != "__metadata__"
        }
    except FileNotFoundError as error:
        raise InvalidInput("the file is missing: the adapter's folder is incomplete", where=str(path), remedy="Train again.") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InvalidInput("is not a safetensors file", where=str(path), remedy="Train again.") from error
    if any(not 8 + length <= begin <= end <= size for _, begin, end in found.values()):
        raise InvalidInput("ends before its last tensor", where=str(path), value=f"{size} bytes", remedy="Train again.")
    return found


def _not_finite(path: Path, tensors: Mapping[str, tuple[str, int, int]]) -> Iterator[str]:
    """Names of tensors that hold NaN or infinity: values whose exponent has all bits set."""
    content = np.memmap(path, np.uint8, "r")
    for name, (kind, begin, end) in tensors.items():
        if kind in _EXPONENTS and end > begin:
            width, exponent = _EXPONENTS[kind]
            bits = content[begin:end].view(width)
            if bool(((bits & exponent) == exponent).any()):
                yield name


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InvalidInput("the file is missing: the adapter's folder is incomplete", where=str(path), remedy="Train again.") from error
    except json.JSONDecodeError as error:
        raise InvalidInput(f"is not JSON: {error}", where=str(path), remedy="Train again.") from error


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True))


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _card(run: Run, facts: Mapping[str, object]) -> str:
    """README.md of the adapter. manifest.json has all fields."""
    policy = run.plan.policy
    return f"""---
library_name: peft
base_model: {run.plan.base}
tags: [lora, flywheel]
---
# {run.adapter}

LoRA adapter for the workload `{run.workload}`, made by Flywheel run `{run.id}`.

| | |
| --- | --- |
| method | {run.plan.method}, {policy.quantization}, rank {policy.rank}, alpha {policy.alpha}, on {", ".join(policy.target_modules)} |
| steps | {facts.get("steps", 0)} of batch {policy.batch}, learning rate {policy.learning_rate:g}, seed {policy.seed} |
| training set | snapshot `{run.plan.snapshot}` |
| base | SHA-256 `{run.plan.base_digest}` |
| made from | {f"`{run.plan.parent}`: {run.plan.edit}" if run.plan.parent else "the base"} |

It is served only after it passed the release gate. `manifest.json` holds plan, files and versions; `probe.json` holds the
log-probabilities that serving must reproduce (weight parity check).
"""
