"""What ``flywheel up`` refuses, and how: one clear sentence, an exit code, nothing left behind."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from flywheel.errors import CannotRun, Refused
from flywheel.ids import WorkloadId
from services.cli.doctor import CheckLevel, Diagnosis, examine
from services.cli.up import command
from services.cli.up.command import _locked, _Page
from services.cli.up.supervisor import PartState, Watched
from services.cli.up.wiring import StartTier, SupervisedPart, prepare
from services.integrations.vllm.chat_template import served_template
from services.process.machine import read_machine
from services.process.process_group import MARK
from services.settings import Settings
from services.stores.database import open_ledger
from services.stores.ledger.subject_keys import open_subject_keys
from tests.ports import free_ports
from tests.unit.integrations.test_chat_template import model, shipped

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    first = free_ports(16)
    return {
        "data_dir": str(tmp_path / "var"),
        "http": {"gateway_port": first, "api_port": first + 1, "metrics_port": first + 2},
        "kafka": {"embedded_port": first + 13},
        "serving": {"port": first + 14},
    }


def flywheel(command: str, content: dict[str, Any], tmp_path: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    config = tmp_path / "flywheel.yaml"
    config.write_text(yaml.safe_dump(content))
    arguments = [sys.executable, "-m", "services.cli", command, "--config", str(config), *more]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL")}
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def occupied(content: dict[str, Any]) -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", content["http"]["api_port"]))
        holder.listen()
        yield content["http"]["api_port"]


def no_trace(ended: "subprocess.CompletedProcess[str]") -> str:
    said = ended.stdout + ended.stderr
    assert "Traceback" not in said
    return said


def test_an_occupied_port_is_named_with_its_setting(content: dict[str, Any], tmp_path: Path, occupied: int) -> None:
    ended = flywheel("up", content, tmp_path)
    assert ended.returncode == 1
    said = no_trace(ended)
    assert "http.api_port: the port for the api is taken" in said
    assert str(occupied) in said


def test_a_missing_model_is_named_before_anything_starts(content: dict[str, Any], tmp_path: Path) -> None:
    content["serving"] |= {"python": sys.executable, "model": str(tmp_path / "nowhere")}
    ended = flywheel("up", content, tmp_path)
    assert ended.returncode == 1
    assert "serving.model: there is no model in this folder" in no_trace(ended)
    assert not (tmp_path / "var" / "logs").exists()


def test_a_missing_interpreter_is_named(content: dict[str, Any], tmp_path: Path) -> None:
    content["serving"] |= {"python": str(tmp_path / "python"), "model": str(tmp_path)}
    ended = flywheel("up", content, tmp_path)
    assert ended.returncode == 1
    assert "serving.python: there is no such Python interpreter" in no_trace(ended)


def test_a_data_dir_that_cannot_be_written_is_named(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    content["data_dir"] = str(tmp_path / "file" / "var")
    ended = flywheel("up", content, tmp_path)
    assert ended.returncode == 1
    assert "data_dir: cannot be written" in no_trace(ended)


def test_a_second_one_on_the_same_data_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    with _locked(tmp_path / "var"):
        ended = flywheel("up", content, tmp_path)
    assert ended.returncode == 3
    assert "another `flywheel up` runs on this data" in no_trace(ended)


def test_a_second_one_is_refused_also_when_a_person_removed_the_file_with_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "PREDECESSOR_SECONDS", 0.2)
    with _locked(tmp_path):
        (tmp_path / "up.pid").unlink()
        with pytest.raises(Refused, match="another"), _locked(tmp_path):
            pass
    with _locked(tmp_path):
        pass


@pytest.mark.broker
def test_a_vllm_that_does_not_come_up_ends_everything_with_its_own_last_error(content: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("")
    (folder / "chat_template.jinja").write_text("{% for message in messages %}{{ message.content }}{% endfor %}")
    content["serving"] |= {"python": sys.executable, "model": str(folder)}  # our own interpreter holds no vLLM
    ended = flywheel("up", content, tmp_path, "--json")
    said = no_trace(ended)
    assert ended.returncode == 1
    error = json.loads(ended.stderr.splitlines()[-1])["error"]
    assert error["where"] == "vllm"
    assert error["reason"].startswith("it ended before it was ready")
    assert "No module named 'vllm'" in said
    data = str(tmp_path).encode()
    left = [entry for entry in Path("/proc").glob("[0-9]*") if _environment(entry).find(MARK.encode()) >= 0 and data in _command(entry)]
    assert left == []
    assert not (tmp_path / "var" / "up.json").exists()


def test_the_doctor_names_every_wrong_part_at_once(content: dict[str, Any], tmp_path: Path, occupied: int) -> None:
    content["serving"] |= {"python": sys.executable, "model": str(tmp_path / "nowhere")}
    ended = flywheel("doctor", content, tmp_path)
    said = no_trace(ended)
    assert ended.returncode == 1
    assert "serving.model: there is no model in this folder" in said
    assert f"127.0.0.1:{occupied} for the api is taken" in said
    assert "not Apache Kafka" in said
    assert f"`flywheel doctor --config {tmp_path / 'flywheel.yaml'}` again" in said


@pytest.mark.parametrize(("mode", "said"), [(0o640, True), (0o600, False)])
def test_the_doctor_names_files_that_others_can_read(content: dict[str, Any], tmp_path: Path, mode: int, said: bool) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "traffic.db").touch(mode=mode)
    (data,) = (found for found in examine(Settings.model_validate(content), read_machine()) if found.part == "data")
    assert ("other users of this host can read traffic.db" in data.sentence, "chmod -R go=" in data.remedy) == (said, said)
    assert data.finding is (CheckLevel.NOTE if said else CheckLevel.OK)


def test_the_doctor_shows_what_is_wrong_with_the_settings(content: dict[str, Any], tmp_path: Path) -> None:
    content["htpt"] = {}
    ended = flywheel("doctor", content, tmp_path, "--json")
    assert ended.returncode == 1
    assert "unknown key" in no_trace(ended)


def _environment(entry: Path) -> bytes:
    try:
        return (entry / "environ").read_bytes()
    except OSError:
        return b""


def _command(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def tools_of(tmp_path: Path, template: str | None, **serving: Any) -> Diagnosis:
    """What the doctor says about tools, of a model with this template."""
    (tmp_path / "model").mkdir()
    serving["model"] = model(tmp_path / "model", template)
    settings = Settings.model_validate({"data_dir": tmp_path / "var", "serving": serving})
    (found,) = [one for one in examine(settings, read_machine()) if one.part == "tools"]
    return found


@pytest.mark.parametrize(
    ("name", "finding", "sentence"),
    [
        ("qwen2_5", CheckLevel.OK, "the chat template is the model's own template; tool calls are read by vLLM's parser hermes"),
        (
            "llama3",
            CheckLevel.OK,
            "the chat template is the model's own template, with tools added; tool calls are read by vLLM's parser hermes",
        ),
        (
            "glm4moe",
            CheckLevel.NOTE,
            "requests with tools are answered with 400, because no parser of vLLM is known for the form of its calls",
        ),
        ("gemma", CheckLevel.NOTE, "requests with tools are answered with 400, because it renders no tools"),
    ],
)
def test_the_doctor_says_which_template_serves_and_whether_tools_can_be_used(
    tmp_path: Path, name: str, finding: CheckLevel, sentence: str
) -> None:
    found = tools_of(tmp_path, shipped(name))
    assert (found.finding, sentence in found.sentence) == (finding, True), found
    assert (found.remedy == "") is (finding is CheckLevel.OK)


def test_the_doctor_says_how_to_start_a_vllm_of_ones_own(tmp_path: Path) -> None:
    found = tools_of(tmp_path, shipped("llama3"), url="http://127.0.0.1:9", chat_template_kwargs={"a": 1})
    file = tmp_path / "var" / "serving" / "chat_template.jinja"
    assert "the vLLM at http://127.0.0.1:9 must do the same" in found.sentence
    assert found.remedy == (
        f"Start it with --chat-template {file} --chat-template-content-format string --default-chat-template-kwargs '{{\"a\": 1}}' "
        "--enable-auto-tool-choice --tool-call-parser hermes"
    )


def test_the_doctor_names_a_template_that_cannot_be_used(tmp_path: Path) -> None:
    found = tools_of(tmp_path, None)
    assert (found.finding, "has no chat template" in found.sentence) == (CheckLevel.WRONG, True)


def test_a_lost_key_of_the_pseudonyms_is_not_replaced_where_some_are_recorded(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    key = tmp_path / "keys" / "redaction"
    prepare(settings)
    key.unlink()
    prepare(settings)  # nothing is recorded: a new one changes nothing
    subjects = open_subject_keys(open_ledger(settings.ledger_url), data_dir=tmp_path, configured=None)
    subjects.ensured({b"subject": WorkloadId("support")}, at=datetime.now(UTC))
    key.unlink()
    with pytest.raises(CannotRun, match="the key of the pseudonyms is missing") as missing:
        prepare(settings)
    assert (missing.value.where, str(key) in missing.value.remedy, key.exists()) == (str(key), True, False)
    key.write_text("0" * 64)
    prepare(settings)


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:9"])
def test_the_template_that_serves_is_written_for_vllm(tmp_path: Path, url: str | None) -> None:
    folder = model(tmp_path, shipped("llama3"))
    settings = Settings.model_validate({"data_dir": tmp_path / "var", "serving": {"model": folder, "url": url, "python": sys.executable}})
    prepare(settings)
    assert (tmp_path / "var/serving/chat_template.jinja").read_text() == served_template(model=folder).template.text


def test_beside_a_vllm_of_ones_own_an_unusable_template_stops_nothing(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path / "var", "serving": {"model": tmp_path, "url": "http://127.0.0.1:9"}})
    prepare(settings)
    assert not (tmp_path / "var/serving").exists()


def test_a_model_without_a_chat_template_is_named_before_anything_starts(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("")
    content["serving"] |= {"python": sys.executable, "model": str(tmp_path)}
    ended = flywheel("up", content, tmp_path)
    assert ended.returncode == 1
    assert "the model has no chat template" in no_trace(ended)
    assert not (tmp_path / "var" / "logs").exists()


def test_up_json_lists_what_a_host_holds_with_each_ones_own_address(tmp_path: Path) -> None:
    addresses = {"trainer": "http://127.0.0.1:1", "gatekeeper": "http://127.0.0.1:2"}
    host = SupervisedPart(
        name="host",
        tier=StartTier.WORK,
        start=lambda: pytest.fail("nothing is started"),
        why_not_ready=lambda: None,
        log=tmp_path / "host.log",
        start_seconds=1.0,
        restarts_before_ready=1,
        address="here",
        hosted=addresses,
    )
    _Page(tmp_path / "up.json").write((Watched(part=host, state=PartState.READY),))
    parts = json.loads((tmp_path / "up.json").read_text())["parts"]
    assert {name: part["address"] for name, part in parts.items()} == {"host": "here", **addresses}
    assert {part["state"] for part in parts.values()} == {"ready"}
