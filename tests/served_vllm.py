"""A real vLLM with the small model, for the tests that hold our stand-in to it. Started once a run, ended with it."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file

from services.integrations.vllm.chat_template import served_template
from services.integrations.vllm.server_process import VllmLaunch, chat_arguments, command
from services.process.child_process import last_error
from services.process.machine import read_machine
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 400.0
PLACES = 2  # for adapters


def base_model() -> Path:
    """The small model's folder. Skips, with the reason, where the environment or the model has not been set up."""
    model = Path(os.environ.get("FLYWHEEL_TEST_BASE", ""))
    if not (ROOT / ".venv-vllm/bin/python").exists() or not (model / "config.json").exists():
        pytest.skip("no .venv-vllm or no FLYWHEEL_TEST_BASE: run `make setup`; `make test` names the model")
    return model


@contextmanager
def running_vllm(folder: Path, *, port: int | None = None) -> Iterator[str]:
    """Its URL. As `flywheel up` starts it, except that a request may name another chat template."""
    python, model = ROOT / ".venv-vllm/bin/python", base_model()
    log, port, template = folder / "vllm.log", port or free_port(), folder / "chat_template.jinja"
    served = served_template(model=model)
    template.write_text(served.template.text)
    launch = VllmLaunch(
        python=python,
        model=model,
        port=port,
        max_loras=PLACES,
        max_lora_rank=8,
        max_model_len=512,
        cpu_cache_gib=1,
        cpu_threads_bind="0-1",
        log=log,
        chat=chat_arguments(served, file=template, reasoning_parser=None),
        extra_args=("--trust-request-chat-template",),
    )
    ordered = command(launch, machine=read_machine(), environment=os.environ)
    with log.open("wb") as out:
        process = subprocess.Popen(ordered.arguments, env=dict(ordered.environment), stdout=out, stderr=subprocess.STDOUT)
        try:
            url, until = f"http://127.0.0.1:{port}", monotonic() + START_SECONDS
            while not _answers(url):
                assert process.poll() is None, last_error(log)
                assert monotonic() < until, last_error(log)
                sleep(0.5)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def random_adapter(folder: Path, *, layers: int = 30, width: int = 576, rank: int = 8, scale: float = 0.05) -> Path:
    """A LoRA on the query projections with seeded random weights: it moves the answers, which is all a probe needs."""
    draw = np.random.default_rng(7)
    weights = {}
    for layer in range(layers):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{name}.lora_A.weight"] = draw.normal(0, scale, (rank, width)).astype(np.float32)
        weights[f"{name}.lora_B.weight"] = draw.normal(0, scale, (width, rank)).astype(np.float32)
    folder.mkdir(parents=True)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none", "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
