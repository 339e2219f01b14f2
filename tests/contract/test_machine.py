"""Readings of the machine, the command line of vLLM, and the base model's folder."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from flywheel.errors import CannotRun
from services.integrations.gguf.base_model_files import SOURCE, convert, why_damaged
from services.integrations.vllm.chat_rendering import ChatTemplate
from services.integrations.vllm.chat_template import ServedTemplate, TemplateOrigin
from services.integrations.vllm.server_process import VllmLaunch, chat_arguments, command
from services.process.machine import Machine, port_is_free, read_machine, require_disk, require_processor


def machine(*, features: frozenset[str] = frozenset({"avx2"}), gpu: str | None = None, cores: int = 2) -> Machine:
    return Machine(system="Linux", processor="x86_64", cores=cores, memory_gib=24.0, features=features, gpu=gpu)


def launch(tmp_path: Path, *, key: str | None = None) -> VllmLaunch:
    return VllmLaunch(
        python=tmp_path / "python",
        model=tmp_path / "model",
        port=9,
        max_loras=4,
        max_lora_rank=16,
        max_model_len=1024,
        cpu_cache_gib=1,
        cpu_threads_bind="auto",
        log=tmp_path / "vllm.log",
        key=key,
    )


def test_a_processor_without_avx2_is_refused_unless_a_gpu_serves() -> None:
    with pytest.raises(CannotRun, match="no AVX2"):
        require_processor(machine(features=frozenset({"sse2"})))
    require_processor(machine(features=frozenset({"sse2"}), gpu="NVIDIA"))
    require_processor(machine(features=frozenset()))  # a system that does not tell is given the benefit of the doubt


def test_this_machine_can_be_read() -> None:
    assert read_machine().cores >= 1


def test_features_are_read_from_the_kernels_list(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu avx2 avx512f\n")
    assert read_machine(cpuinfo=cpuinfo, meminfo=tmp_path / "none").features == {"fpu", "avx2", "avx512f"}


def test_too_little_disk_says_how_much_is_needed_and_how_much_is_free(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=r"the test needs 1e\+09 GiB, [0-9.]+ GiB are free"):
        require_disk(tmp_path / "not" / "there" / "yet", gib=1e9, what="the test")


def test_a_port_is_taken_while_somebody_listens() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert not port_is_free("127.0.0.1", port)
    assert port_is_free("127.0.0.1", port)


def test_an_address_of_another_machine_is_an_error_of_its_own() -> None:
    with pytest.raises(CannotRun, match="cannot listen there"):
        port_is_free("192.0.2.1", 80)


def test_vllm_on_a_cpu_gets_both_cores_and_none_of_our_paths(tmp_path: Path) -> None:
    started = command(launch(tmp_path, key="secret"), machine=machine(), environment={"PYTHONPATH": "ours", "PATH": "/bin"})
    assert "--enforce-eager" in started.arguments
    assert "secret" not in started.arguments
    assert started.environment["PYTHONPATH"].endswith("services/integrations/vllm/cpu")  # what corrects the base, and nothing of ours
    assert started.environment["VLLM_API_KEY"] == "secret"
    assert started.environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert started.environment["VLLM_CPU_OMP_THREADS_BIND"] != "auto"
    wide = command(launch(tmp_path), machine=machine(cores=16), environment={})
    assert wide.environment["VLLM_CPU_OMP_THREADS_BIND"] == "auto"


def test_vllm_on_a_gpu_gets_no_setting_for_processors(tmp_path: Path) -> None:
    started = command(launch(tmp_path), machine=machine(gpu="NVIDIA"), environment={})
    assert "--enforce-eager" not in started.arguments
    assert not [name for name in started.environment if name.startswith("VLLM_CPU")]


def test_a_model_folder_is_damaged_when_a_file_is_missing_or_changed(tmp_path: Path) -> None:
    assert "does not contain source.json" in str(why_damaged(tmp_path))
    (tmp_path / "weights").write_bytes(b"w")
    digest = "50e721e49c013f00c62cf59f2163542a9d8df02464efeb615d31051b0fddc326"
    (tmp_path / SOURCE).write_text(json.dumps({"origin": {}, "files": {"weights": digest}}))
    assert why_damaged(tmp_path) is None
    (tmp_path / "weights").write_bytes(b"v")
    assert "SHA-256 differs from source.json" in str(why_damaged(tmp_path))
    (tmp_path / "weights").unlink()
    assert "is missing" in str(why_damaged(tmp_path))
    (tmp_path / SOURCE).write_text("[")
    assert "cannot be read" in str(why_damaged(tmp_path))


def test_a_missing_model_file_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="make setup"):
        convert(gguf=tmp_path / "x.gguf", destination=tmp_path / "model", package="x")


@pytest.mark.training  # imports torch
def test_a_conversion_that_fails_leaves_no_half_model(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\0" * 60)
    with pytest.raises(Exception):  # noqa: B017  whatever the reader says of rubbish
        convert(gguf=bad, destination=tmp_path / "models" / "m", package="x")
    assert list((tmp_path / "models").iterdir()) == []


def test_further_arguments_come_before_those_of_the_daemon_which_win(tmp_path: Path) -> None:
    arguments = command(replace(launch(tmp_path), extra_args=("--seed", "1")), machine=machine(), environment={}).arguments
    assert arguments.index("--seed") < arguments.index("--model")
    assert arguments[arguments.index("--seed") + 1] == "1"


def test_the_template_and_the_parsers_are_named(tmp_path: Path) -> None:
    template = ChatTemplate(text="x", content_format="string", variables={"enable_thinking": False})
    served = ServedTemplate(template=template, origin=TemplateOrigin.CHOSEN, renders_tools=True, tool_parser="hermes")
    assert chat_arguments(served, file=tmp_path / "t.jinja", reasoning_parser="qwen3") == (
        *("--chat-template", str(tmp_path / "t.jinja"), "--chat-template-content-format", "string"),
        *("--default-chat-template-kwargs", '{"enable_thinking": false}'),
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--reasoning-parser", "qwen3"),
    )
    plain = replace(served, template=replace(template, variables={}), tool_parser=None)
    assert chat_arguments(plain, file=tmp_path / "t.jinja", reasoning_parser=None)[2:] == ("--chat-template-content-format", "string")
