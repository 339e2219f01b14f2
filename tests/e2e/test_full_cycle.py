"""One full cycle on real parts, small: broker, Faust, Evidently, NF4 QLoRA steps, vLLM with runtime LoRA, and every process.

Six training steps make no good adapter, so the test does not depend on the gate's verdict: where the gate refuses, a named person overrides
it, and shadow, canary and guards go on from there. ``make demo`` measures whether the demo's adapter is better.
"""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from flywheel.ids import AdapterName
from flywheel.retraining.training_run import RunState
from flywheel.rollout.release import Release, ReleaseState
from services.cli.demo.app_traffic import AppTraffic, Asked
from services.cli.demo.command import CONFIG
from services.cli.demo.daemon import Daemon
from services.cli.demo.items_and_files import demo_items, golden_file, protected_file
from services.cli.demo.people import Colleague, make_tokens, token_of
from services.cli.demo.stage_clock import wait_for
from services.cli.demo.support_tool import submit_corrections
from services.cli.demo.tool_router import WORKLOAD, ToolItem
from services.cli.demo.write_report import write_demo_report
from services.settings import Settings, load
from tests.ports import free_metrics_port, free_port

ROOT = Path(__file__).resolve().parents[2]
EARLY, LIVE, GOLDEN = 40, 50, 24
pytestmark = [pytest.mark.e2e, pytest.mark.serving, pytest.mark.training, pytest.mark.evidently, pytest.mark.broker]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("cycle")
    config = _small(folder)
    settings = load(config)
    settings.data_dir.mkdir()
    make_tokens(settings)
    with Daemon(config=config, settings=settings) as daemon:
        daemon.start(show=lambda _: None)
        cycle = SmallCycle(daemon, settings, config)
        cycle.run()
        written = write_demo_report(ledger=settings.data_dir / "ledger.db", workload=WORKLOAD, out=folder)
    content: dict[str, Any] = json.loads(written.json.read_text())
    content["sent"], content["folder"], content["config"] = cycle.app.sent, str(folder), str(config)
    return content


class SmallCycle:
    """The demo's people and users, with fewer requests."""

    def __init__(self, daemon: Daemon, settings: Settings, config: Path) -> None:
        self.daemon, self.settings = daemon, settings
        self.maria = Colleague("maria", settings=settings, config=config)
        self.omar = Colleague("omar", settings=settings, config=config)
        self.items = demo_items(settings)
        self.app = AppTraffic(
            url=f"http://127.0.0.1:{settings.http.gateway_port}",
            token=token_of(settings, "tool-app"),
            alias="tool-router",
            max_tokens=48,
            concurrency=12,
        )

    def run(self) -> None:
        self.maria.runs("golden", "import", str(golden_file(self.settings, self.items.golden[:GOLDEN])), "--workload", WORKLOAD)
        self.maria.runs("golden", "import", str(protected_file("general")), "--workload", WORKLOAD)
        self.maria.runs("golden", "freeze", "--workload", WORKLOAD)
        self.send(self.items.early[:EARLY], "early")
        self.wait(lambda: self.daemon.recorded() >= EARLY or None, "recording", 90)
        self.maria.runs("reference", "pin", "--workload", WORKLOAD, "--reason", "the launch traffic")
        live = self.send(self.items.live[:LIVE], "live")
        alert = self.wait(self.daemon.firing_alert, "an alert", 180)
        self.maria.runs("alerts", "ack", alert.id, "--note", "collecting corrections")
        submit_corrections(
            live,
            url=f"http://127.0.0.1:{self.settings.http.api_port}",
            token=token_of(self.settings, "support-desk"),
            workload=WORKLOAD,
            now=datetime.now(UTC),
            progress=lambda done, of: None,
        )
        adapter = self.wait(self.trained, "a trained run", 900)
        release = self.wait(lambda: self.in_state(adapter, ReleaseState.REFUSED, ReleaseState.SHADOW), "the gate", 900)
        if release.state is ReleaseState.REFUSED:
            assert self.daemon.gate_of(adapter) is not None, release.reason
            self.omar.runs("release", "approve", release.id, "--override-gate", "--reason", "six steps are no training")
        for at in range(12):
            self.send(self.items.live[:24], f"canary-{at}")
            if self.in_state(adapter, ReleaseState.LIVE, ReleaseState.ROLLED_BACK):
                break
        self.wait(lambda: self.in_state(adapter, ReleaseState.LIVE, ReleaseState.ROLLED_BACK), "the end of the canary", 120)
        bad = self.edited(adapter, 0.0)
        self.wait(lambda: self.in_state(bad, ReleaseState.REFUSED), "the probe's refusal", 240)
        self.maria.runs("release", "detach", "--workload", WORKLOAD, "--reason", "the end of the test")

    def send(self, items: Any, name: str) -> list[Asked]:
        asked = self.app.send(list[ToolItem](items), round_name=name, done=lambda _: None)
        assert all(one.ok for one in asked)
        return asked

    def trained(self) -> AdapterName | None:
        runs = self.daemon.runs()
        assert not runs or runs[0].state is not RunState.FAILED, runs[0].reason
        return runs[0].adapter if runs and runs[0].state is RunState.TRAINED else None

    def in_state(self, adapter: AdapterName, *states: ReleaseState) -> Release | None:
        release = self.daemon.release_of(adapter)
        return release if release is not None and release.state in states else None

    def edited(self, adapter: AdapterName, factor: float) -> AdapterName:
        command = [sys.executable, "-m", "services.cli.demo.make_bad_adapters", "--adapter", adapter, "--factor", str(factor)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "FLYWHEEL_CONFIG": str(self.settings.data_dir.parent / "flywheel.yaml")}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return AdapterName(done.stdout.split()[-1])

    def wait(self, look: Any, what: str, seconds: float) -> Any:
        return wait_for(look, what=what, seconds=seconds, alive=self.daemon.check)


def _small(folder: Path) -> Path:
    """The demo's configuration on free ports, with a few steps and small counts."""
    content = yaml.safe_load((ROOT / CONFIG).read_text())
    content["data_dir"] = str(folder / "demo")
    content["http"] = {"gateway_port": free_port(), "api_port": free_port(), "metrics_port": free_metrics_port()}
    content["kafka"] = {"embedded_port": free_port()}
    serving = {"port": free_port(), "python": str(ROOT / ".venv-vllm/bin/python"), "model": str(ROOT / "var/models/smollm2-135m-instruct")}
    content["serving"] |= serving
    for token in content["tokens"]:
        token["token_file"] = str(folder / "demo" / "keys" / Path(token["token_file"]).name)
    workload = content["workloads"]["tool-router"]
    workload["training"] |= {"steps": 6, "warmup_steps": 1, "general_file": str(ROOT / "deploy/demo/general_training.jsonl")}
    workload["trigger"]["enough_with_drift"] = 25
    workload["release"] |= {"shadow_requests": 8, "canary_sessions": 12, "minimum_sessions": 6}
    path = folder / "flywheel.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_no_dead_letters_and_no_more_rows_than_requests(report: dict[str, Any]) -> None:
    assert report["traffic"]["dead_lettered"] == 0
    assert 0 < report["traffic"]["recorded"] <= report["sent"]


def test_drift_has_our_verdict_and_evidentlys_score(report: dict[str, Any]) -> None:
    assert {"input", "output", "quality", "slice"} <= {row["kind"] for row in report["drift"]}
    assert any(row["drifted"] for row in report["drift"])
    assert any(row["evidently_score"] is not None for row in report["drift"])


def test_an_alert_is_acknowledged_by_name(report: dict[str, Any]) -> None:
    assert "maria" in {alert["acknowledged_by"] for alert in report["alerts"]}


def test_every_submission_is_accounted_for(report: dict[str, Any]) -> None:
    counts = report["corrections"]
    assert counts["accepted"] >= 25
    assert (counts["contradictions"], counts["rejected"], counts["forged"]) == (2, 3, 1)
    assert counts["duplicates"] > 0
    assert counts["redacted"] >= 4


def test_the_adapter_trained_on_nf4_and_was_judged_by_the_gate(report: dict[str, Any]) -> None:
    assert (report["training"]["quantization"], report["training"]["steps"]) == ("nf4", 6)
    assert report["training_set"]["examples"] > 20
    assert report["golden"]["items"] == GOLDEN
    assert report["gate"]["axes"]


def test_an_adapter_that_changes_nothing_is_refused_by_the_probe(report: dict[str, Any]) -> None:
    assert "probe" in [one["by"] for one in report["refused"]]


def test_the_report_needs_the_ledger_alone(report: dict[str, Any], tmp_path: Path) -> None:
    for name in ("ledger.db", "ledger.db-wal"):
        source = Path(report["folder"]) / "demo" / name
        if source.exists():
            shutil.copy(source, tmp_path / name)
    command = [sys.executable, "-m", "services.cli", "report", "--ledger", str(tmp_path / "ledger.db"), "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["gate"] == report["gate"]
    assert "<html" in (tmp_path / "report.html").read_text()


def test_nothing_is_left_running(report: dict[str, Any]) -> None:
    left = subprocess.run(["pgrep", "-f", report["config"]], capture_output=True, text=True, check=False)
    assert left.stdout.strip() == ""
    Console().print("the cycle's folder:", report["folder"])
