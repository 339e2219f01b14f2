"""Real NF4 steps on the real small model: the traps of 4-bit training on a CPU stay shut."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from flywheel.ids import AdapterName, RunId, SnapshotId, WorkloadId
from flywheel.retraining.adapter_name import adapter_name
from flywheel.retraining.plan import TrainingPlan, TrainingPolicy
from flywheel.retraining.training_run import Run, RunState
from flywheel.traffic.message import Message
from flywheel.training_set.example import Example
from flywheel.training_set.snapshot import Snapshot
from flywheel.training_set.token_rows import TokenRow, probe_rows, token_rows
from services.integrations.vllm.chat_rendering import render_prompt
from services.integrations.vllm.chat_template import served_template
from services.integrations.vllm.tokenizer_file import read_encoder
from services.integrations.vllm.training_text import training_row
from tests.chats import CHATS

pytestmark = pytest.mark.training

STEPS = 4


def base_folder() -> Path:
    for folder in (os.environ.get("FLYWHEEL_TEST_BASE"), "var/models/smollm2-135m-instruct"):
        if folder and Path(folder, "model.safetensors").is_file():
            return Path(folder)
    pytest.skip("no base model: set FLYWHEEL_TEST_BASE to the folder that `make setup` made")


def a_snapshot() -> Snapshot:
    examples = tuple(
        Example(
            id=f"example-{n}",
            messages=(Message(role="user", content=f"Tool: add(a:int, b:int)\nAdd {n} and {n + 1}"),),
            completion=json.dumps({"tool": "add", "arguments": {"a": n, "b": n + 1}}),
            entity=f"e{n}",
            source="correction",
        )
        for n in range(6)
    )
    return Snapshot(
        id=SnapshotId("snapshot-test"), workload=WorkloadId("router"), cut_off=datetime(2026, 1, 1, tzinfo=UTC), examples=examples
    )


def some_rows() -> tuple[TokenRow, ...]:
    from services.integrations.trl.qlora import TrlQlora

    template = served_template(model=base_folder()).template
    render = partial(training_row, template, now=datetime(2026, 1, 1, tzinfo=UTC))
    found = token_rows(a_snapshot().examples, render=render, encode=TrlQlora().encoder(str(base_folder())), max_length=128)
    assert not found.left_out
    return found.rows


def a_plan() -> TrainingPlan:
    policy = TrainingPolicy(
        rank=4, alpha=8, dropout=0.05, target_modules=("q_proj", "v_proj"), learning_rate=2e-3, steps=STEPS, batch=2, warmup_steps=1,
        max_length=128, threads=2,
    )  # fmt: skip
    return TrainingPlan(
        workload=WorkloadId("router"),
        base="base",
        base_digest="0" * 64,
        snapshot=SnapshotId("snapshot-test"),
        method="qlora-sft",
        policy=policy,
    )


def a_run() -> Run:
    plan = a_plan()
    return Run(
        id=RunId("run-1"),
        workload=plan.workload,
        plan=plan,
        adapter=adapter_name(plan),
        state=RunState.TRAINING,
        requested_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def train_thrice(folder: Path) -> list[tuple[int, str]]:
    """Undisturbed into a/, killed at step 3 into b/, again into b/: exit code and digest of each.

    Forks of one fresh process, which has imported the libraries and run nothing yet: three imports would take longer than the steps.
    """
    code = f"""
import json, os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_trl_qlora import a_plan, base_folder
from test_trl_qlora import some_rows
from services.integrations.trl.qlora import TrlQlora
rows = some_rows()
for name, kill_at in (("a", 0), ("b", 3), ("b", 0)):
    out = {str(folder)!r} + "/" + name + "/adapter"
    child = os.fork()
    if child == 0:
        def progress(step, of, loss):
            if step == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        TrlQlora().train(a_plan(), rows, base_path=str(base_folder()), out=out, progress=progress)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    weights = out + "/adapter_model.safetensors"
    from services.stores.adapter_files import Path, digest_file
    print(json.dumps([code, digest_file(Path(weights)) if os.path.exists(weights) else ""]), flush=True)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2", "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [tuple(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]


def test_trainer_and_retrain_scheduler_count_the_same_tokens() -> None:
    """One has the training libraries, the other the tokenizer's file alone."""
    from services.integrations.trl.qlora import TrlQlora

    served = served_template(model=base_folder())
    texts = [render_prompt(served.template, body, now=datetime(2026, 1, 1, tzinfo=UTC)) for body in CHATS]
    encode, counted = TrlQlora().encoder(str(base_folder())), read_encoder(base_folder())
    assert [tuple(encode(text)) for text in texts] == [tuple(counted(text)) for text in texts]


def test_an_evaluation_forward_leaves_the_gradients_as_they_were() -> None:
    import torch
    from peft import get_peft_model

    from services.integrations.trl.qlora import load_base, lora_config

    torch.manual_seed(7)
    torch.set_num_threads(2)
    model = get_peft_model(load_base(str(base_folder()), quantization="nf4"), lora_config(a_plan().policy))
    ids = torch.arange(1000, 1024).reshape(2, 12)
    lora = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in lora:  # lora_B starts at zero, which hides every gradient of lora_A
        parameter.data = torch.randn_like(parameter.data) * 0.02

    def gradients() -> "torch.Tensor":
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        grads = (torch.zeros_like(each) if each.grad is None else each.grad for each in lora)
        return torch.cat([grad.flatten() for grad in grads])

    before = gradients()
    model.eval()
    with torch.no_grad():
        model(input_ids=ids)
    after = gradients()
    assert torch.equal(before, after)
    assert float(before.norm()) > 0


def test_a_killed_run_resumes_to_the_same_bytes_and_a_complete_folder(tmp_path: Path) -> None:
    from services.integrations.trl.qlora import TrlQlora
    from services.stores.adapter_files import read_bundle, read_probe, write_bundle

    undisturbed, killed, resumed = train_thrice(tmp_path)
    assert undisturbed[0] == 0
    assert killed == (-signal.SIGKILL, "")
    assert resumed == undisturbed

    adapter = tmp_path / "a" / "adapter"
    rows = some_rows()
    assert [row.answer_ids[-1] for row in rows] == [2] * 6  # <|im_end|>, and nothing after it
    probe = TrlQlora().replay(probe_rows(rows, items=2), base_path=str(base_folder()), adapter_path=str(adapter))
    assert len(probe) >= 2
    assert all(len(item.answer_ids) == len(item.replay) and all(value <= 0 for value in item.replay) for item in probe)
    target = tmp_path / "adapters" / a_run().adapter
    bundle = write_bundle(
        staged=adapter, target=target, run=a_run(), probe=probe, max_rank=16, facts={"steps": STEPS}, now=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert bundle == read_bundle(target)
    assert read_probe(target) == probe
    assert bundle.name == AdapterName(a_run().adapter)
    config = json.loads((target / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "base"
    assert (target / "README.md").read_text().count(bundle.name)
