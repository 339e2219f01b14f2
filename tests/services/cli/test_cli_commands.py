import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from flywheel.alerts.alert import Alert, AlertMessage, AlertState, Severity, WindowsSeen
from flywheel.gate.axes import AxisTest, AxisVerdict, GateDecision, GateVerdict, IncorrectAnswer, RequiredItems, Role
from flywheel.ids import BASE, AdapterName, AlertId, GateId, Person, ReleaseId, WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from flywheel.rollout.release import Release, ReleaseState, Route
from flywheel.traffic.dead_letter import LetterCause
from flywheel.traffic.exchange import exchange_from_wire
from flywheel.traffic.features import columns_of
from services.api.app import build_app
from services.api.wiring import ApiParts, api_parts
from services.cli.run_command import run
from services.ports.dead_letters import DeadLetter
from services.ports.gate import GateRecord
from services.ports.traffic import RecordedInference, RecordingBatch
from services.settings import Settings, load
from services.stores.schema_version import CODE_VERSION
from services.stores.tokens import sha256_of
from tests.databases import empty_databases
from tests.opened import traffic_store
from tests.ports import free_port
from tests.traffic_events import inference

ROOT = Path(__file__).resolve().parents[3]
ROUTER = WorkloadId("tool-router")
ADAPTER = AdapterName("tool-router-one")


@dataclass
class Daemon:
    """A listening api, and the command line pointed at it."""

    config: Path
    parts: ApiParts
    capture: Any = None

    def run(self, *words: str) -> tuple[int, str, str]:
        code = run([*words, "--config", str(self.config)])
        out, err = self.capture.readouterr()
        return code, out, err


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder, port = tmp_path_factory.mktemp("cli"), free_port()
    config = folder / "flywheel.yaml"
    config.write_text(
        f"data_dir: {folder / 'var'}\n"
        f"http: {{api_port: {port}, gateway_port: {free_port()}}}\n"
        f"tokens: [{{name: ada, scopes: [operate, submit], sha256: {sha256_of('ada')}}}, "
        f"{{name: root, scopes: [admin], sha256: {sha256_of('root')}}}]\n"
        "workloads: {tool-router: {alias: tool-router, slices: {dimensions: [tenant], protected: ['tenant=globex']}}}\n"
    )
    empty_databases(folder / "var")
    parts = api_parts(load(config))
    server = uvicorn.Server(
        uvicorn.Config(build_app(parts, ready=lambda: None), host="127.0.0.1", port=port, log_config=None, lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.01)
    seed(parts)
    seed_exchange(load(config))
    yield Daemon(config=config, parts=parts)
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def daemon(listening: Daemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Daemon:
    monkeypatch.setenv("FLYWHEEL_TOKEN", "ada")
    monkeypatch.delenv("FLYWHEEL_CONFIG", raising=False)
    listening.capture = capsys
    return listening


def seed(parts: ApiParts) -> None:
    """A firing alert, a gate that cannot tell, a release that waits, a route."""
    now = parts.clock()

    def line(kind: str, subject: str, state: str) -> JournalEntry:
        return JournalEntry(at=now, workload=ROUTER, kind=kind, subject=subject, state=state, reason="seeded")

    alert = Alert(
        id=AlertId("alert-1"),
        workload=ROUTER,
        severity=Severity.WARNING,
        state=AlertState.FIRING,
        message=AlertMessage(summary="inputs have\tmoved\x1b[31m", first_action="look at the slice"),
        seen=WindowsSeen(first="w", newest="w", until=now),
        started_at=now,
        last_seen_at=now,
    )
    assert parts.ledger.alerts.save_alert(alert, line("alert", "alert-1", "firing"))
    axis = AxisVerdict(
        name="golden",
        role=Role.SUPERIORITY,
        verdict=GateVerdict.CANNOT_TELL,
        reason="too few items",
        n=10,
        baseline_arm="base",
        baseline=0.5,
        challenger=0.6,
        wins=1,
        losses=0,
        test=AxisTest(alpha=0.025, margin=0.05, standard_margin=0.05, p=0.5),
        required=RequiredItems(at_these_shares=120),
    )
    decision = GateDecision(verdict=GateVerdict.CANNOT_TELL, reason="golden: too few items", axes=(axis,), unanswerable=("case-7",))
    wrong = IncorrectAnswer(case="case-3", reason="argument day has an incorrect value", arguments={"day": 0.25, "city": 1.0})
    decision = replace(decision, incorrect=(wrong,))
    gate = GateRecord(id=GateId("gate-1"), workload=ROUTER, adapter=ADAPTER, champion=BASE, golden_version=1, decision=decision, at=now)
    parts.ledger.gates.save_gate(gate, line("gate", "gate-1", "cannot_tell"))
    assert parts.ledger.releases.save_route(
        Route(workload=ROUTER, alias="tool-router", version=1, champion=BASE), line("route", ROUTER, "changed")
    )
    release = Release(
        id=ReleaseId("release-1"),
        workload=ROUTER,
        adapter=ADAPTER,
        state=ReleaseState.GATED,
        since=now,
        reason="",
        actor=Person("flywheel"),
    )
    assert parts.ledger.releases.save_release(release, line("release", "release-1", "gated"), expected=None)


CURSOR_UP, TITLE, BACKWARDS = "\x1b[1A", "\x9d0;renamed\x9c", "\u202e"
"""What would steer a terminal."""


def seed_exchange(settings: Settings) -> None:
    """With tools, an answer of two choices, and text that steers terminals wherever users may write."""
    call = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    picture = {"type": "image_url", "image_url": {"url": "https://x.example/y.png"}}
    asked = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": f"First line\n{CURSOR_UP}Oslo?{TITLE}"}, picture],
                "name": f"ann{BACKWARDS}",
            },
            {"role": "tool", "content": "", "tool_call_id": "call-0"},
        ],
        "tools": [{"type": "function", "function": {"name": "weather"}}],
        "temperature": 0.2,
        f"odd{CURSOR_UP}": None,
    }
    choices = [
        {"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"},
        {"message": {"content": f"4 °C{TITLE}"}},
    ]
    exchange = exchange_from_wire(asked, {"id": "chatcmpl-7", "choices": choices, "usage": {"prompt_tokens": 9}}, where="$")
    one = replace(inference(1, workload=ROUTER, session=f"s{CURSOR_UP}"), exchange=replace(exchange, added=("request.temperature",)))
    failed = inference(2, workload=ROUTER, answer=None, status=500, error="it broke")
    rows = [RecordedInference(inference=row, features=columns_of(row, valid_format=None)) for row in (one, failed)]
    traffic_store(settings).record(RecordingBatch(advances=[], rows=rows))


SHOWN = r"""settings
  temperature = 0.2
  odd\x1b[1A = null

tools
  {"type": "function", "function": {"name": "weather"}}

[system]
Be brief.

[user]
First line
\x1b[1AOslo?\x9d0;renamed\x9c
{"type": "image_url", "image_url": {"url": "https://x.example/y.png"}}
name: ann\u202e

[tool]

tool_call_id: call-0

[answer 0, tool_calls]
tool_calls: [{"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Oslo\"}"}}]

[answer 1, no finish reason]
4 °C\x9d0;renamed\x9c

usage
  {"prompt_tokens": 9}
"""


def test_an_exchange_is_shown_readably_and_steers_no_terminal(daemon: Daemon) -> None:
    code, out, err = daemon.run("exchange", "show", "chatcmpl-7")
    assert code == 0, err
    assert not any(character in out for character in (*CURSOR_UP[:1], *TITLE, BACKWARDS) if not character.isprintable())
    fields, _, content = out.partition("\n\n")
    for line in (
        *("request id         req-1", "completion id      chatcmpl-7", "occurred at        2026-01-05T12:00:01Z"),
        *("client             shop", "adapter            base", "arm                champion", "outcome            ok"),
        *("added              request.temperature", "left out           -", "session            s[1A"),
    ):
        assert line in fields.splitlines(), line
    assert content == SHOWN
    assert err.startswith("Next: flywheel corrections submit FILE, with request_id req-1")


def test_an_exchange_as_json_is_whole_and_steers_no_terminal(daemon: Daemon) -> None:
    code, out, _ = daemon.run("exchange", "show", "req-1", "--json")
    shown = json.loads(out)
    assert (code, shown["request"]["messages"][1]["name"], shown["session"]) == (0, f"ann{BACKWARDS}", f"s{CURSOR_UP}")
    assert "°" in out
    assert all(character.isprintable() or character == "\n" for character in out)


def test_an_exchange_without_an_answer_says_so(daemon: Daemon) -> None:
    code, out, _ = daemon.run("exchange", "show", "req-2", "--workload", "tool-router")
    assert (code, out.splitlines()[-1]) == (0, "There is no answer.")
    assert "error              it broke" in out.splitlines()


@pytest.mark.parametrize("id", ["absent", "a/b", "../status", "?x=1", "a b", "%2e", "\udcff", "é"])
def test_an_unknown_exchange_is_one_sentence_and_exit_code_2(daemon: Daemon, id: str) -> None:
    code, out, err = daemon.run("exchange", "show", id)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("flywheel: exchange: there is no such exchange")


def test_alerts_are_listed_shown_and_acknowledged_by_name(daemon: Daemon) -> None:
    code, out, err = daemon.run("alerts", "list", "--open")
    assert code == 0
    assert "alert-1\ttool-router\twarning" in out
    assert "\x1b" not in out
    assert "Next: flywheel alerts show alert-1" in err
    code, out, _ = daemon.run("alerts", "ack", "alert-1", "--note", "mine", "--hours", "2", "--json")
    assert (code, json.loads(out)["acknowledgement"]["by"]) == (0, "ada")
    code, out, err = daemon.run("alerts", "show", "alert-1")
    assert (code, "acknowledged" in out, "look at the slice" in err) == (0, True, True)


def test_an_unknown_alert_is_one_sentence_and_exit_code_2(daemon: Daemon) -> None:
    code, out, err = daemon.run("alerts", "show", "nobody", "--json")
    assert code == 2
    assert out == ""
    assert json.loads(err)["error"]["reason"] == "there is no such alert"
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_a_gate_that_cannot_tell_is_exit_code_4(daemon: Daemon) -> None:
    code, out, err = daemon.run("gate", "show")
    assert code == 4
    assert "too few items" in out
    assert "Cases left out (1), because the server refused their request from every arm: case-7." in out
    assert "Incorrect answers of the challenger (the first 1)" in out
    assert "day 0.25, city 1.0" in out
    assert "more golden cases" in err
    code, out, _ = daemon.run("gate", "show", "gate-1", "--json")
    assert (code, json.loads(out)["decision"]["verdict"]) == (4, "cannot_tell")


def test_a_gate_for_an_unknown_adapter_is_exit_code_2(daemon: Daemon) -> None:
    code, _, err = daemon.run("gate", "run", "nobody")
    assert code == 2
    assert "there is no such adapter" in err


def test_status_names_the_release_to_approve_and_approve_approves_it(daemon: Daemon) -> None:
    code, out, err = daemon.run("release", "status")
    assert code == 0
    assert "champion=base" in out
    assert f"flywheel release approve {ADAPTER}" in err
    code, out, _ = daemon.run("release", "approve", ADAPTER, "--reason", "looked at it")
    assert (code, f"{ADAPTER} is gated, approved by ada.\n") == (0, out)


def test_a_refused_action_is_exit_code_3(daemon: Daemon) -> None:
    code, _, err = daemon.run("release", "rollback", "--reason", "just in case")
    assert code == 3
    assert "base model answers already" in err
    assert daemon.run("release", "approve", ADAPTER, "--override-gate", "--reason", "x")[0] == 3
    assert daemon.run("release", "detach", "--reason", "x")[0] == 3
    assert daemon.run("golden", "freeze")[0] == 3


def test_each_line_of_a_corrections_file_has_its_own_result(daemon: Daemon, tmp_path: Path) -> None:
    body = {
        "correction_id": "c-1",
        "workload_id": "tool-router",
        "source": "desk",
        "kind": "comment",
        "request_id": "r",
        "author": {"name": "Mia"},
        "created_at": "2026-05-01T07:00:00Z",
    }
    file = tmp_path / "fixes.ndjson"
    file.write_text(f"{json.dumps(body)}\n{json.dumps(body)}\n")
    code, out, _ = daemon.run("corrections", "submit", str(file))
    assert (code, out) == (0, "1 accepted, 1 known already, 0 refused.\n")
    file.write_text("{rubbish\n")
    code, out, _ = daemon.run("corrections", "submit", str(file))
    assert code == 1
    assert "is not JSON" in out
    assert daemon.run("corrections", "submit", str(tmp_path / "missing"))[0] == 2
    assert daemon.run("corrections", "list")[0] == 0


def test_golden_cases_are_imported_frozen_and_shown(daemon: Daemon, tmp_path: Path) -> None:
    row = {
        "tier": "golden",
        "messages": [{"role": "user", "content": "what?"}],
        "grader": {"kind": "contains", "expected": {"any": ["yes"]}},
        "entity": "e",
        "verified_by": "Mia",
    }
    file = tmp_path / "golden.ndjson"
    file.write_text(json.dumps(row))
    code, out, err = daemon.run("golden", "import", str(file))
    assert (code, out) == (0, "Cases: 1 golden, 0 general, 0 safety; 1 of them new.\n")
    assert "flywheel golden freeze" in err
    assert daemon.run("golden", "freeze")[1] == "Version 1 with 1 cases is frozen.\n"
    code, out, _ = daemon.run("golden", "show", "--items", "--json")
    assert (code, json.loads(out)["cases"][0]["verified_by"]) == (0, "Mia")


@pytest.mark.parametrize(
    "words",
    [
        ("reference", "show"),
        ("dataset", "show"),
        ("dlq", "list"),
        ("corrections", "list", "--state", "accepted"),
        ("train", "--reason", "try"),
        ("dataset", "build", "--reason", "try"),
        ("check-config",),
    ],
)
def test_commands_print_text_and_a_next_step_or_json(daemon: Daemon, words: tuple[str, ...]) -> None:
    code, out, err = daemon.run(*words)
    assert code == 0, err
    assert out
    assert "Next: " in err
    code, out, _ = daemon.run(*words, "--json")
    assert code == 0
    assert isinstance(json.loads(out), dict)


def test_dead_letters_are_listed_shown_retried_and_dropped(daemon: Daemon) -> None:
    at = daemon.parts.clock()
    place = {"topic": "old.v1", "partition": 1, "offset": 7, "at": at, "reason": "KeyError at place:7", "path": "$", "workload": ROUTER}
    for number, cause in enumerate((LetterCause.FAILED, LetterCause.UNREADABLE)):
        letter = DeadLetter(id=f"letter-{number}", cause=cause, size=3, **place)  # type: ignore[arg-type]
        daemon.parts.letters.keep(letter, b"raw")
    code, out, err = daemon.run("dlq", "list", "--workload", ROUTER, "--cause", "failed")
    assert (code, "letter-0" in out, "letter-1" in out) == (0, True, False)
    assert "Next: flywheel dlq show letter-0" in err
    code, out, err = daemon.run("dlq", "show", "letter-0")
    assert (code, "KeyError at place:7" in out, "flywheel dlq retry letter-0" in err) == (0, True, True)
    code, _, err = daemon.run("dlq", "retry", "letter-0")
    assert (code, "its topic is not read any more" in err) == (3, True)
    code, out, _ = daemon.run("dlq", "drop", "letter-0", "letter-1", "--reason", "of a test")
    assert (code, out.count("was dropped")) == (0, 2)
    (line, *_) = daemon.parts.ledger.journal.entries(kind=JournalKind.DEAD_LETTER, subject="letter-1")
    assert (line.state, line.actor, line.reason) == ("dropped", "ada", "of a test")
    assert daemon.run("dlq", "drop", "letter-9", "--reason", "x")[0] == 2


@pytest.mark.parametrize(
    ("words", "code"), [(("bogus",), 2), (("alerts",), 2), (("alerts", "ack"), 2), (("train",), 2), (("gate", "run"), 2), (("--help",), 0)]
)
def test_wrong_usage_is_exit_code_2(words: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(list(words)) == code
    assert "Traceback" not in capsys.readouterr().err


def test_an_unknown_or_missing_token_is_refused(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLYWHEEL_TOKEN", "forged")
    assert daemon.run("alerts", "list")[0] == 3
    file = tmp_path / "token"
    file.write_text("ada\n")
    assert daemon.run("alerts", "list", "--token-file", str(file))[0] == 0
    assert daemon.run("alerts", "list", "--token-file", str(tmp_path / "none"))[0] == 2
    monkeypatch.delenv("FLYWHEEL_TOKEN")
    code, _, err = daemon.run("alerts", "list")
    assert code == 2
    assert "FLYWHEEL_TOKEN" in err


def test_a_stopped_daemon_is_one_sentence_with_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_TOKEN", "ada")
    config = tmp_path / "flywheel.yaml"
    config.write_text(f"http: {{api_port: {free_port()}}}\nworkloads: {{w: {{alias: w}}}}\n")
    assert run(["alerts", "list", "--config", str(config)]) == 1
    assert "flywheel up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("colour: red", "colour: unknown key"),
        ("http: {api_port: many}", "http.api_port"),
        ("tokens: [{name: a, scopes: [infer], token_file: /nowhere}]", "tokens.0.token_file"),
        ("workloads: {w: {alias: w, slices: {protected: ['tenant=a']}}}", "workloads.w.slices.protected"),
        ("- a list", "must be a mapping"),
    ],
)
def test_check_config_names_the_fault_and_the_known_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, named: str
) -> None:
    config = tmp_path / "flywheel.yaml"
    config.write_text(content)
    assert run(["check-config", "--config", str(config)]) == 2
    assert named in capsys.readouterr().err
    assert run(["check-config", "--json", "--config", str(config)]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["valid"] is False
    assert "workloads.<name>.watch.pane_seconds" in {key["key"] for key in answer["keys"]}


def test_help_imports_neither_settings_nor_http() -> None:
    """They take a second; help takes a tenth."""
    code = "import sys; from services.cli.run_command import run; run(['--help']); print([n for n in sys.argv[1:] if n in sys.modules])"
    heavy = ("services.settings", "pydantic", "numpy", "httpx", "rich", "sqlalchemy")
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert "check-config" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"flywheel {CODE_VERSION}\n"


@pytest.mark.parametrize("words", ["--help", "check-config --json", "doctor --json"])
def test_an_output_that_cannot_be_written_is_one_sentence(words: str, tmp_path: Path) -> None:
    ended = in_shell(f"{words} > /dev/full", tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("flywheel: the output or the working directory: No space left on device.")
    assert "Traceback" not in ended.stderr


def test_a_closed_output_takes_nothing_of_what_is_opened_next(tmp_path: Path) -> None:
    """Python would give the number of the closed stream to the next file, and print into it."""
    ended = in_shell("doctor >&- 2>&-", tmp_path)
    assert (ended.returncode, ended.stderr) == (in_shell("doctor", tmp_path).returncode, "")


def test_a_working_directory_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    ended = in_shell("check-config", gone, before=f"rmdir {gone};")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert "No such file or directory" in ended.stderr


@pytest.mark.parametrize(("module", "words"), [("typer", "--help"), ("sqlalchemy", "doctor"), ("httpx", "alerts list")])
def test_ctrl_c_while_a_command_is_imported_ends_it_quietly(module: str, words: str, tmp_path: Path) -> None:
    """The module that is imported sends the signal itself."""
    (tmp_path / f"{module}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit('not ended')\n")
    ended = in_shell(words, tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_a_token_file_without_an_end_is_refused(daemon: Daemon) -> None:
    code, _, err = daemon.run("alerts", "list", "--token-file", "/dev/zero")
    assert (code, "the token file cannot be read" in err) == (2, True)


def in_shell(words: str, folder: Path, *, before: str = "") -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("FLYWHEEL_CONFIG", None)
    command = f"{before} exec {sys.executable} -m services.cli {words}"
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, env=environment, check=False, preexec_fn=interruptible
    )


def interruptible() -> None:
    """A run of the tests in the background of a shell ignores SIGINT, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_token_is_made_listed_and_revoked(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    create = ("token", "create", "bea", "--scope", "review", "--scope", "submit", "--workload", "tool-router", "--days", "7")
    code, _, said = daemon.run(*create)
    assert (code, "does not have the scope admin" in said) == (3, True)
    monkeypatch.setenv("FLYWHEEL_TOKEN", "root")
    code, out, said = daemon.run(*create)
    assert (code, "keep the token now" in said) == (0, True)
    secret = next(word for word in out.split() if word.startswith("fw-"))
    monkeypatch.setenv("FLYWHEEL_TOKEN", secret)
    assert daemon.run("alerts", "list")[0] == 0
    monkeypatch.setenv("FLYWHEEL_TOKEN", "root")
    (listed,) = json.loads(daemon.run("token", "list", "--json")[1])["tokens"]
    assert [listed[name] for name in ("name", "scopes", "workloads", "state")] == ["bea", ["review", "submit"], ["tool-router"], "in force"]
    assert [daemon.run("token", "revoke", name, "--reason", "left")[0] for name in ("bea", "nobody")] == [0, 2]
    code, out, _ = daemon.run("token", "list")
    assert (code, "revoked" in out, secret in out) == (0, True, False)
    assert daemon.run("token", "create", "eve", "--scope", "internal")[0] == 2
    monkeypatch.setenv("FLYWHEEL_TOKEN", secret)
    assert daemon.run("alerts", "list")[0] == 3
