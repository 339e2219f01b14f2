"""What ``flywheel.yaml`` and the environment may not contain: refused when they are read, before anything starts, in plain English."""

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from flywheel.errors import InvalidSettings
from services.cli.run_command import run
from services.process.process_names import PROCESSES
from services.settings import METRICS_PORTS, Workload, load
from services.settings.known_keys import keys_of, sections
from services.settings.renamed_keys import RENAMED
from services.settings.secrets import secret_from

DIGEST = "a" * 64
ROOT = Path(__file__).resolve().parents[3]
PYDANTICS = ("Input should", "pydantic", "Traceback", "validation error", "NoneType")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLYWHEEL_CONFIG", raising=False)
    return tmp_path / "flywheel.yaml"


def refusal(config: Path, content: str) -> InvalidSettings:
    """The only fault of this content."""
    config.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidSettings) as refused:
        load(config)
    assert len(str(refused.value).splitlines()) == 1
    assert refused.value.reason
    assert refused.value.remedy
    assert not any(word in str(refused.value) for word in PYDANTICS)
    return refused.value


def of_a_workload(section: str) -> str:
    return f"workloads: {{w: {{alias: w, {section}}}}}"


@pytest.mark.parametrize(
    ("content", "where", "reason"),
    [
        ("http: {api_port: 8400}", "http.api_port", "has the same value as http.gateway_port"),
        ("http: {gateway_port: 8425}", "http.gateway_port", "is one of the 10 ports"),
        ("http: {metrics_port: 8391}", "http.gateway_port", "is one of the 10 ports"),
        ("{http: {api_port: 8431}, gateway: {processes: 3}}", "http.api_port", "is one of the 12 ports"),
        ("gateway: {processes: 0}", "gateway.processes", "must be 1 or more"),
        ("kafka: {embedded_port: 8401}", "kafka.embedded_port", "has the same value as http.api_port"),
        ("serving: {python: python, model: m, port: 8401}", "serving.port", "has the same value as http.api_port"),
        ("http: {host: 'my host'}", "http.host", "is not an address or a host name"),
        ("serving: {url: 'localhost:8000'}", "serving.url", "is not an http or https URL"),
        ('data_dir: "a\\0b"', "data_dir", "contains a NUL character"),
        ("gateway: {cors_origins: ['https://app.example.org/']}", "gateway.cors_origins.0", "is not the origin of a web page"),
        ("gateway: {cors_origins: ['app.example.org']}", "gateway.cors_origins.0", "is not the origin of a web page"),
        ("gateway: {cors_origins: ['*', '*']}", "gateway.cors_origins.1", "is there twice"),
        ("gateway: {passed_on: [embeddings, load_lora_adapter]}", "gateway.passed_on.1", "is administration of the model server"),
        ("gateway: {passed_on: [RESET_prefix_cache]}", "gateway.passed_on.0", "is administration of the model server"),
        ("gateway: {passed_on: [../metrics]}", "gateway.passed_on.0", "is not a part of a path"),
        ("gateway: {passed_on: ['']}", "gateway.passed_on.0", "is not a part of a path"),
        ("gateway: {passed_on: [score, score]}", "gateway.passed_on.1", "is there twice"),
    ],
)
def test_ports_and_addresses_must_be_usable_together(config: Path, content: str, where: str, reason: str) -> None:
    refused = refusal(config, content)
    assert refused.where == f"{config}: {where}"
    assert reason in refused.reason
    assert refused.value is not None


@pytest.mark.parametrize(
    ("argument", "reason", "remedy"),
    [
        ("--model=other", "is set by the daemon", "Set serving.model."),
        ("--host", "is set by the daemon", "127.0.0.1"),
        ("--port=8000", "is set by the daemon", "Set serving.port."),
        ("--uds", "is set by the daemon", "set serving.url"),
        ("--max_loras", "is set by the daemon", "Set serving.max_loras."),
        ("--no-enable-lora", "is set by the daemon", "adapters are always enabled"),
        ("--no-enable-lora=1", "is set by the daemon", "adapters are always enabled"),
        ("--max-lor", "may be read as --max-loras", "Set serving.max_loras."),
        ("--api-key=secret", "is set by the daemon", "Set serving.key_file"),
        ("--chat-template", "is set by the daemon", "Set serving.chat_template."),
        ("--tool-call-parser", "is set by the daemon", "Set serving.tool_parser."),
        ("--reasoning-parser", "is set by the daemon", "Set serving.reasoning_parser."),
        ("--tokenizer", "is set by the daemon", "tokenizer in the model's folder"),
        ("--config", "is set by the daemon", "Write its arguments here"),
        ("--grpc-port=7", "opens or uses a further address", "serving.url"),
        ("--data_parallel_address", "opens or uses a further address", "serving.url"),
        ("a\0b", "contains a NUL character", "Remove it."),
    ],
)
def test_arguments_that_the_daemon_sets_or_that_open_an_address_are_refused(config: Path, argument: str, reason: str, remedy: str) -> None:
    refused = refusal(config, f"serving: {{extra_args: [--seed, 1, {json.dumps(argument)}]}}")
    assert refused.where == f"{config}: serving.extra_args.2"
    assert reason in refused.reason
    assert remedy in refused.remedy
    assert refused.value == argument.partition("=")[0]
    assert "secret" not in str(refused)


def test_a_value_without_an_option_is_refused(config: Path) -> None:
    assert "without an option" in refusal(config, "serving: {extra_args: [other-model]}").reason


def test_further_arguments_of_vllm_are_taken_also_as_numbers(config: Path) -> None:
    config.write_text("serving: {extra_args: [--tensor-parallel-size, 2, --gpu-memory-utilization=0.8, -O3, --swap-space, 0.5]}")
    assert load(config).serving.extra_args == ("--tensor-parallel-size", "2", "--gpu-memory-utilization=0.8", "-O3", "--swap-space", "0.5")


def test_a_variable_of_the_template_must_be_json(config: Path) -> None:
    refused = refusal(config, "serving: {chat_template_kwargs: {today: 2026-11-30, enable_thinking: false}}")
    assert (refused.where, refused.reason) == (f"{config}: serving.chat_template_kwargs.today", "cannot be written as JSON")


@pytest.mark.parametrize(
    "content",
    [
        "kafka: {bootstrap: 'kafka:9092', embedded_port: 8400}",
        "serving: {url: 'http://gpu:8000', port: 8400}",
        "serving: {port: 8400}",
        "http: {metrics_port: 8402}",
        "{http: {api_port: 8430}, gateway: {processes: 1}}",
    ],
)
def test_a_port_that_is_not_used_clashes_with_none(config: Path, content: str) -> None:
    config.write_text(content)
    load(config)


def test_there_is_a_metrics_port_for_every_process() -> None:
    assert len(PROCESSES) == METRICS_PORTS


@pytest.mark.parametrize(
    ("tokens", "where", "reason"),
    [
        (
            "{name: a, scopes: [infer], token_file: x}, {name: a, scopes: [infer], token_file: y}",
            "1.name",
            "has the same value as tokens.0.name",
        ),
        (
            "{name: a, scopes: [infer], token_file: x}, {name: b, scopes: [infer], token_file: x}",
            "1.token_file",
            "has the same value as tokens.0.token_file",
        ),
        (
            f"{{name: a, scopes: [infer], sha256: {DIGEST}}}, {{name: b, scopes: [infer], sha256: {DIGEST.upper()}}}",
            "1.sha256",
            "has the same value as tokens.0.sha256",
        ),
        ("{name: a, scopes: [infer], sha256: abc}", "0.sha256", "is not a SHA-256"),
        ("{name: ' ', scopes: [infer], token_file: x}", "0.name", "must not be empty"),
    ],
)
def test_every_token_has_its_own_name_and_secret(config: Path, tokens: str, where: str, reason: str) -> None:
    refused = refusal(config, f"tokens: [{tokens}]")
    assert refused.where == f"{config}: tokens.{where}"
    assert reason in refused.reason


@pytest.mark.parametrize(
    ("section", "where", "reason"),
    [
        ("gate: {margins: {colour: {margin: 0.04, reason: x}}}", "gate.margins.colour", "there is no such axis"),
        ("gate: {margins: {'golden[tenant=a]': {margin: 0.04, reason: x}}}", "gate.margins.golden[tenant=a]", "there is no such axis"),
        ("gate: {margins: {golden: {margin: 0.1, reason: ''}}}", "gate.margins.golden", "no reason is given"),
        ("gate: {superiority_alpha: 0.9}", "gate.superiority_alpha", "must be below 0.5"),
        ("gate: {non_inferiority_alpha: 0}", "gate.non_inferiority_alpha", "must be above 0.0001"),
        ("recording: {subject: user}", "recording.subject", "is no subject"),
        ("recording: {subject: 'dim:'}", "recording.subject", "is no subject"),
        ("trigger: {calendar: every day}", "trigger.calendar", "is not a crontab line"),
        ("trigger: {calendar: 99 3 * * 1}", "trigger.calendar", "is not a crontab line"),
        ("alerts: {webhooks: [{url: 'ftp://example.org'}]}", "alerts.webhooks.0.url", "is not an http or https URL"),
        ("alerts: {webhooks: [{url: 'https://'}]}", "alerts.webhooks.0.url", "is not an http or https URL"),
        (
            "alerts: {webhooks: [{url: 'http://a'}, {url: 'http://a'}]}",
            "alerts.webhooks.1.url",
            "has the same value as workloads.w.alerts.webhooks.0.url",
        ),
        ("requests: {session_from: [user, header, user]}", "requests.session_from.2", "is there twice"),
        ("requests: {session_from: [cookie]}", "requests.session_from.0", "must be one of 'header', 'user'"),
        ("requests: {without_champion: wait}", "requests.without_champion", "must be one of 'refuse' or 'base'"),
        ("requests: {defaults: {max_tokens: 20}, caps: {max_tokens: 10}}", "requests.defaults.max_tokens", "is above"),
        ("requests: {defaults: {temperature: 3}}", "requests.defaults.temperature", "must be 2 or less"),
        ("release: {canary_shares: [0.5, 0.1]}", "release.canary_shares", "larger than the one before"),
        ("release: {canary_shares: [1]}", "release.canary_shares.0", "must be below 1"),
        ("release: {guard_alphas: {format: 0.5}}", "release.guard_alphas", "add up to more than their budget"),
        ("release: {guard_alphas: {errors: 2}}", "release.guard_alphas.errors", "must be below 1"),
        ("watch: {window_panes: 30}", "watch", "each be longer than the one before"),
        ("watch: {pane_seconds: 1e300}", "watch.pane_seconds", "must be 1000000000 or less"),
        ("watch: {pane_seconds: .inf}", "watch.pane_seconds", "must be a finite number"),
        ("watch: {late_data_hours: -1}", "watch.late_data_hours", "must be 0 or more"),
        ("watch: {late_data_hours: 1e7}", "watch.late_data_hours", "must be 87600 or less"),
        ("watch: {learning_seconds: 0}", "watch.learning_seconds", "must be 0.001 or more"),
        ("slices: {protected: [tenant=a]}", "slices.protected.0", "of a declared dimension"),
        ("slices: {dimensions: [tenant, tenant]}", "slices.dimensions.1", "this name is there twice"),
        ("slices: {dimensions: ['tenant=a']}", "slices.dimensions.0", "must not be empty or contain `=`"),
        ("format: {json_schema: {type: 7}}", "format.json_schema.type", "is not a JSON Schema"),
    ],
)
def test_what_no_process_could_run_with_is_refused_when_it_is_read(config: Path, section: str, where: str, reason: str) -> None:
    refused = refusal(config, of_a_workload(section))
    assert refused.where == f"{config}: workloads.w.{where}"
    assert reason in refused.reason


def test_an_adapter_that_could_not_be_served_is_not_trained(config: Path) -> None:
    refused = refusal(config, f"serving: {{max_lora_rank: 8}}\n{of_a_workload('training: {rank: 9}')}")
    assert (refused.where, refused.value) == (f"{config}: workloads.w.training.rank", 9)
    assert refused.reason == "is above serving.max_lora_rank 8"
    config.write_text(f"serving: {{max_lora_rank: 8}}\n{of_a_workload('training: {rank: 8}')}")
    load(config)


def test_a_token_for_a_workload_that_is_not_there_is_refused(config: Path) -> None:
    token = "tokens: [{name: a, scopes: [infer], token_file: x, workloads: [%s]}]"
    refused = refusal(config, f"{of_a_workload('mode: auto')}\n{token % 'w, v'}")
    assert (refused.where, refused.value) == (f"{config}: tokens.0.workloads.1", "v")
    assert refused.reason == "there is no such workload"
    assert "(w)" in refused.remedy
    assert refusal(config, token % "v").value == "v"
    config.write_text(f"{of_a_workload('mode: auto')}\n{token % 'w'}")
    load(config)
    config.write_text(token % "'*'")
    load(config)


def test_the_axis_of_a_protected_slice_may_have_a_margin(config: Path) -> None:
    slices = "slices: {dimensions: [tenant], protected: [tenant=a]}"
    config.write_text(of_a_workload(f"{slices}, gate: {{margins: {{'golden[tenant=a]': {{margin: 0.04, reason: x}}}}}}"))
    assert load(config).workloads["w"].gate.margins["golden[tenant=a]"].margin == 0.04


@pytest.mark.parametrize("name", ["ü", "a b", "base", "a" * 41, "''"])
def test_a_name_that_cannot_stand_in_a_header_is_refused(config: Path, name: str) -> None:
    assert refusal(config, f"workloads: {{{name}: {{alias: a}}}}").reason == "cannot be a workload's name"


@pytest.mark.parametrize(
    ("content", "where", "reason", "value"),
    [
        ("http: {api_port: many}", "http.api_port", "must be a whole number", "many"),
        ("http: {api_port: 70000}", "http.api_port", "must be 65535 or less", 70_000),
        ("http: {api_port: 0}", "http.api_port", "must be 1 or more", 0),
        ("http: 3", "http", "must be a mapping of keys to values", 3),
        ("http:", "http", "must be a mapping of keys to values; it is empty", None),
        ("log_level: loud", "log_level", "must be one of 'debug', 'info', 'warning' or 'error'", "loud"),
        ("log_level: 3", "log_level", "must be one of 'debug', 'info', 'warning' or 'error'", 3),
        ("data_dir: 7", "data_dir", "must be the path of a file or folder", 7),
        ("workloads: {w: {}}", "workloads.w.alias", "is required", None),
        ("workloads: {1: {alias: a}}", "workloads.1", "must be text", 1),
        (of_a_workload("trigger: {calendar: [a]}"), "workloads.w.trigger.calendar", "must be text", "a list"),
        (of_a_workload("watch: {ks_minimum_effect: high}"), "workloads.w.watch.ks_minimum_effect", "must be a number", "high"),
        (of_a_workload("release: {canary_shares: 0.5}"), "workloads.w.release.canary_shares", "must be a list", 0.5),
        ("tokens: [{name: a, scopes: [infer]}]", "tokens.0", "must have sha256 or token_file, and not both", None),
    ],
)
def test_a_wrong_type_is_reported_in_plain_english(config: Path, content: str, where: str, reason: str, value: object) -> None:
    refused = refusal(config, content)
    assert (refused.where, refused.reason, refused.value) == (f"{config}: {where}", reason, value)


def test_a_secret_under_a_misspelt_key_is_not_repeated(config: Path) -> None:
    refused = refusal(config, "tokens: [{name: a, scopes: [infer], token: s3cret}]")
    assert refused.where.endswith("tokens.0.token")
    assert "s3cret" not in str(refused)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("http:\n\tapi_port: 1", "line 2, column 1"),
        ("a: b: c", "line 1"),
        ("data_dir: 2026-99-99", "contains a value that YAML cannot read"),
        ("http: {api_port: " + "9" * 6000 + "}", "contains a value that YAML cannot read"),
        ("x: !!timestamp y", "contains a value that YAML cannot read"),
        ("[" * 3000, "is nested too deeply"),
        ("just words", "must be a mapping of keys to values"),
    ],
)
def test_an_error_in_yaml_is_reported_with_its_place(config: Path, content: str, reason: str) -> None:
    refused = refusal(config, content)
    assert refused.where == str(config)
    assert reason in refused.reason


def test_a_tab_is_reported_as_a_tab(config: Path) -> None:
    assert "no tabs" in refusal(config, "http:\n\tapi_port: 1").remedy


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "\ufeffhttp: {api_port: 8401}"])
def test_an_empty_file_means_the_defaults(config: Path, content: str) -> None:
    config.write_text(content, encoding="utf-8")
    assert load(config).http.api_port == 8401


def test_a_file_that_cannot_be_read_is_named(config: Path, tmp_path: Path) -> None:
    config.write_bytes(b"http: {host: \xfc}")
    for path, reason in (
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "none", "there is no such file"),
        (config / "inside", "cannot be read: Not a directory"),
        (Path("x" * 5000), "cannot be read: File name too long"),
        (config, "is not text in UTF-8"),
    ):
        with pytest.raises(InvalidSettings) as refused:
            load(path)
        assert (refused.value.where, refused.value.reason) == (str(path), reason)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("FLYWHEEL__HTTP__API_PORT", "many", "must be a whole number"),
        ("FLYWHEEL__TOKENS", "many", "is not JSON"),
        ("FLYWHEEL__HTTTP__API_PORT", "1", "unknown key"),
        ("FLYWHEEL__HTTP__API_PROT", "1", "unknown key"),
    ],
)
def test_a_fault_in_the_environment_names_the_variable(
    config: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    refused = refusal(config, "")
    assert refused.where == name
    assert reason in refused.reason


@pytest.mark.parametrize(
    "words",
    [
        ("check-config",),
        ("alerts", "list"),
        ("train", "--reason", "x"),
        ("golden", "import", "/nowhere"),
        ("gate", "show"),
        ("dlq", "list"),
        ("lineage", "x"),
        ("dataset", "show"),
        ("reference", "show"),
        ("release", "status"),
        ("corrections", "list"),
        ("report",),
    ],
)
def test_every_command_refuses_such_a_file_in_one_line(config: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("http: {api_port: 8400}")
    assert run([*words, "--config", str(config)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "http.api_port: has the same value as http.gateway_port (got 8400)" in err


def test_an_error_as_json_goes_to_standard_error(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("http: {api_port: many}")
    assert run(["alerts", "list", "--json", "--config", str(config)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    told = json.loads(err)["error"]
    assert told.pop("remedy")
    (fault,) = told.pop("faults")
    assert fault.pop("remedy")
    assert told == fault | {"exit_code": 2}
    assert fault == {"where": f"{config}: http.api_port", "value": "many", "reason": "must be a whole number"}


def test_a_value_that_json_cannot_hold_is_printed_as_text(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(of_a_workload("watch: {pane_seconds: .inf}"))
    assert run(["check-config", "--json", "--config", str(config)]) == 2
    assert json.loads(capsys.readouterr().out)["faults"][0]["value"] == "inf"


def test_a_file_name_that_is_not_text_does_not_break_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check-config", "--json", "--config", str(tmp_path / "\udcff.yaml")]) == 2
    assert json.loads(capsys.readouterr().out)["faults"][0]["where"].endswith("\udcff.yaml")


def test_the_next_step_names_the_same_configuration(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = tmp_path / "my flywheel.yaml"
    named.write_text("workloads: {w: {alias: w}}")
    assert run(["check-config", "--config", str(named)]) == 0
    assert f"Next: flywheel doctor --config '{named}'" in capsys.readouterr().err
    named.write_text("colour: red")
    assert run(["doctor", "--config", str(named)]) == 1
    assert f"`flywheel doctor --config '{named}'` again" in capsys.readouterr().out
    config.write_text("colour: red")
    assert run(["doctor"]) == 1
    assert "`flywheel doctor` again" in capsys.readouterr().out


TEN_FAULTS = """\
http: {api_prot: 8401, gateway_port: 8425}
log_level: inof
tokens: [{name: a, scopes: [infer], sha256: abc}, {name: b, scopes: [infre], sha256: %s}]
workloads:
  w:
    alias: w
    watch: {pages_a_day: 0.2, window_panes: 30}
    gate: {margins: {golden: {margin: 0.1, reason: ''}}}
    release: {canary_shares: [0.5, 0.1], guard_alphas: {format: 0.5}}
"""


def test_a_file_with_ten_faults_prints_ten_lines(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(TEN_FAULTS % DIGEST)
    for words in (["check-config"], ["up"], ["alerts", "list"]):
        assert run([*words, "--config", str(config)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert [line.split(": ")[2] for line in err.splitlines()] == [
            "http.api_prot",
            "http.gateway_port",
            "log_level",
            "tokens.0.sha256",
            "tokens.1.scopes.0",
            "workloads.w.watch",
            "workloads.w.watch.pages_a_day",
            "workloads.w.gate.margins.golden",
            "workloads.w.release.canary_shares",
            "workloads.w.release.guard_alphas",
        ]


def test_a_process_prints_every_fault_at_its_start(config: Path) -> None:
    config.write_text(TEN_FAULTS % DIGEST)
    started = subprocess.run([sys.executable, "-m", "services.alert_desk", "--config", str(config)], capture_output=True, text=True)
    assert (started.returncode, len(started.stderr.splitlines())) == (2, 10)


@pytest.mark.parametrize(
    ("content", "key", "meant"),
    [
        ("http: {api_prot: 1}", "http.api_prot", "Did you mean `api_port`?"),
        ("workload: {}", "workload", "Did you mean `workloads`?"),
        ("gateway_port: 8400", "gateway_port", "Did you mean `http.gateway_port`?"),
        (of_a_workload("pane_seconds: 5"), "workloads.w.pane_seconds", "Did you mean `workloads.<name>.watch.pane_seconds`?"),
        (of_a_workload("watch: {window_pane: 3}"), "workloads.w.watch.window_pane", "Did you mean `window_panes`?"),
        ("workloads: {watch: {alias: a, wach: {}}}", "workloads.watch.wach", "Did you mean `watch`?"),
        ("http: {data_dir: x}", "http.data_dir", "Did you mean `data_dir`?"),
        ("zebra: 1", "zebra", "Remove it or correct its spelling."),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(config: Path, content: str, key: str, meant: str) -> None:
    refused = refusal(config, content)
    assert (refused.where, refused.reason) == (f"{config}: {key}", "unknown key")
    assert refused.remedy.startswith(meant)


@pytest.mark.parametrize("path", RENAMED, ids=".".join)
def test_a_renamed_key_is_refused_with_what_to_write(config: Path, path: tuple[str, ...]) -> None:
    section, old, new = path[-2], path[-1], RENAMED[path]
    refused = refusal(config, of_a_workload(f"{section}: {{{old}: 0.5}}"))
    assert refused.where == f"{config}: workloads.w.{section}.{old}"
    assert refused.reason == f"`{old}` is now called `{new}`"
    assert refused.remedy == f"Write `{new}: 0.5` under workloads.w.{section}."
    assert old not in Workload.model_fields[section].annotation.model_fields  # type: ignore[union-attr]
    assert new in Workload.model_fields[section].annotation.model_fields  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("section", "effective"),
    [("system_prompt: x", "requests.system_prompt"), ("sampling: {temperature: 0}", "requests.defaults.temperature")],
)
def test_a_removed_key_is_refused_with_what_has_its_effect(config: Path, section: str, effective: str) -> None:
    assert refusal(config, of_a_workload(section)).remedy == f"Delete it. For its effect write `{effective}` under workloads.w."


def test_a_renamed_key_in_the_environment_names_its_variable(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL__WORKLOADS__W__RELEASE__HOLD_BACK_SHARE", "0.1")
    assert refusal(config, of_a_workload("mode: auto")).where == "FLYWHEEL__WORKLOADS__W__RELEASE__HOLD_BACK_SHARE"


def test_a_faulty_value_causes_no_fault_in_others(config: Path) -> None:
    """The default that stands in for it must not clash with what the file says."""
    assert refusal(config, "http: {api_port: many, gateway_port: 8401}").where == f"{config}: http.api_port"
    assert refusal(config, of_a_workload("watch: {window_panes: none, longer_panes: [6]}")).where.endswith("window_panes")
    assert refusal(config, "workloads: {w: 3}\ntokens: [{name: a, scopes: [infer], token_file: x, workloads: [w]}]").where.endswith(".w")


def test_a_misspelt_key_is_not_missing_too(config: Path) -> None:
    assert refusal(config, "workloads: {w: {alais: w}}").where == f"{config}: workloads.w.alais"
    assert refusal(config, "tokens: [{name: a, scopes: [infer], token_fil: x}]").where == f"{config}: tokens.0.token_fil"


def test_a_token_with_two_faults_has_two_lines(config: Path) -> None:
    config.write_text("tokens: [{name: a, scopes: [infre]}]")
    with pytest.raises(InvalidSettings) as refused:
        load(config)
    assert len(str(refused.value).splitlines()) == 2


def test_a_schema_that_contains_itself_is_refused(config: Path) -> None:
    refused = refusal(config, of_a_workload("format: {json_schema: &s {properties: {a: *s}}}"))
    assert refused.where == f"{config}: workloads.w.format.json_schema"


def test_every_key_that_is_there_twice_is_named_with_its_line(config: Path) -> None:
    config.write_text("http: {host: a, host: b}\nworkloads:\n  w: {alias: a}\n  w: {alias: b}\n")
    with pytest.raises(InvalidSettings) as refused:
        load(config)
    first, second = str(refused.value).splitlines()
    assert first.startswith(f"{config}: line 1, column 17: the key `host` is there a second time")
    assert second.startswith(f"{config}: line 4, column 3: the key `w` is there a second time")


def test_missing_files_are_reported_with_the_other_faults(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(
        "log_level: loud\ntokens: [{name: a, scopes: [infer], token_file: /none}]\nredaction_key_file: /neither\nsealing_key_file: /nor\n"
    )
    assert run(["check-config", "--config", str(config)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[2] for line in lines] == ["log_level", "redaction_key_file", "sealing_key_file", "tokens.0.token_file"]


def test_without_a_file_check_config_says_which_defaults_hold(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not config.exists()
    assert run(["check-config"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"There is no flywheel.yaml in {config.parent}, so the defaults")
    assert "gateway on 127.0.0.1:8400" in out
    assert "0 workloads" in out
    assert "Next: write a flywheel.yaml" in err
    assert run(["check-config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] is None


def test_the_manuals_name_keys_that_there_are() -> None:
    known = {
        path.replace("workloads.<name>.", "").replace("[]", "") for path in (key.path for at, one in sections() for key in keys_of(one, at))
    }
    names = "|".join({path.partition(".")[0] for path in known if "." in path})
    pages = [ROOT / "README.md", *(ROOT / "deploy").rglob("*.md")]
    named = {key for page in pages for key in re.findall(rf"`((?:{names})\.[a-z_.]+)`", page.read_text())}
    assert {key for key in named if key not in known and not any(path.startswith(f"{key}.") for path in known)} == set()


def test_aliases_that_grow_without_an_end_are_refused_at_once(config: Path) -> None:
    lines = ["a: &a [x, x, x]", *(f"{name}: &{name} [{', '.join(['*' + before] * 9)}]" for before, name in pairwise("abcdefghi"))]
    assert "values, over" in refusal(config, "\n".join(lines)).reason


@pytest.mark.parametrize(
    ("content", "where"), [("a: &a {b: *a}", "a"), ("a: &a [[*a]]", "a"), ("tokens: &t [x, *t]", "tokens"), ("&a [*a]", "")]
)
def test_an_alias_of_the_value_that_it_stands_in_is_refused(config: Path, content: str, where: str) -> None:
    refused = refusal(config, content)
    assert (refused.reason, refused.where) == ("contains itself", f"{config}: {where}" if where else str(config))


def test_an_alias_may_be_used_again_and_again(config: Path) -> None:
    config.write_text("workloads: {a: &w {alias: a, slices: &s {dimensions: [tenant]}}, b: {alias: b, slices: *s}}")
    assert load(config).workloads["b"].slices.dimensions == ("tenant",)


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="holds over 1,048,576 bytes"):
        load(Path("/dev/zero"))
    with pytest.raises(InvalidSettings, match="cannot be read"):
        secret_from(Path("/dev/zero"), where="serving.key_file")
