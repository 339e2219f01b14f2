"""One full turn of the wheel, in order: traffic, drift, alert, acknowledgement, corrections, training, gate, release, rollback.

In: deploy/demo/flywheel.yaml, the model and the data that ``make setup`` fetched. Out: var/demo/report.json and an HTML page.
Every step is done by the daemon's own processes; the driver plays the users, the support tool and the named people, and waits.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flywheel.errors import CannotRun, FlywheelError
from flywheel.ids import AdapterName, WorkloadId
from flywheel.retraining.run import RunState
from flywheel.rollout.release import Release, ReleaseState
from services.cli.demo.app_traffic import AppTraffic, Asked
from services.cli.demo.clock import StageClock, wait_for
from services.cli.demo.daemon import Daemon
from services.cli.demo.people import Colleague, make_tokens, token_of
from services.cli.demo.prepare import demo_items, golden_file, protected_file
from services.cli.demo.support_desk import hand_in
from services.cli.demo.tool_router import ToolItem, exactly_right
from services.cli.report import write_report
from services.settings import Settings, load

CONFIG = Path("deploy/demo/flywheel.yaml")
WORKLOAD = WorkloadId("tool-router")
EARLY_REQUESTS = 70
EARLY_CORRECTED = 70  # of the early requests, the support team looks at these too
CONCURRENCY = 12
OLD_TICKETS = 40  # solved in the weeks before the daemon was there; each brings its own request
COMPARED = 16  # prompts asked again at the end
SHADOWED = 22  # two more than the policy asks for
CANARY_ROUND = 80
HARMS = (0.4, 0.12)  # nats a token: of the adapter that the gate must stop, and of the sabotage, most of whose answers are no JSON


def demo(
    config: Annotated[Path, typer.Option("--config", help="The demo's configuration.")] = CONFIG,
) -> None:
    """Watch a production model get better on this machine: one full turn of the wheel, on real parts."""
    console = Console()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may have started us with Ctrl-C ignored
        signal.signal(number, signal.default_int_handler)
    try:
        settings = load(config)
        _start_clean(settings)
        make_tokens(settings)
        clock = StageClock(console=console, workload=WORKLOAD)
        with Daemon(config=config, settings=settings) as daemon:
            Turn(settings=settings, config=config, clock=clock, daemon=daemon).run()
    except FlywheelError as error:
        console.print(f"[red]flywheel demo:[/] {error}", highlight=False)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        console.print("\nstopped; nothing is left running. `make demo` starts clean.")
        raise typer.Exit(130) from None


def _start_clean(settings: Settings) -> None:
    """The demo's own folder only; models and packages beside it stay."""
    if settings.data_dir.name != "demo":
        raise CannotRun(
            "the demo empties its data folder first, so it must be named demo",
            where="data_dir",
            value=str(settings.data_dir),
            remedy="Set data_dir: var/demo.",
        )
    shutil.rmtree(settings.data_dir, ignore_errors=True)
    settings.data_dir.mkdir(parents=True)


class Turn:
    """The story; each method is one stage."""

    def __init__(self, *, settings: Settings, config: Path, clock: StageClock, daemon: Daemon) -> None:
        self._settings, self._config, self._clock, self._daemon = settings, config, clock, daemon
        self._maria = Colleague("maria", settings=settings, config=config)
        self._omar = Colleague("omar", settings=settings, config=config)
        workload = settings.workloads[WORKLOAD]
        self._app = AppTraffic(
            url=f"http://127.0.0.1:{settings.http.gateway_port}",
            token=token_of(settings, "tool-app"),
            alias=workload.alias,
            max_tokens=workload.sampling.max_tokens,
            concurrency=CONCURRENCY,
        )
        self._round = 0

    def run(self) -> None:
        with self._clock.stage("items: early, live, golden"):
            self._items = demo_items(self._settings)
        self._clock.say(f"{len(self._items.early)} early, {len(self._items.live)} live, {len(self._items.golden)} golden items")
        with self._clock.stage("start: broker, vLLM, ten processes") as step:
            self._daemon.start(show=lambda note: step(note=note))
        self._clock.journal = self._daemon.journal
        self._freeze_golden()
        early = self._early_traffic()
        self._pin_reference()
        live = self._live_traffic()
        self._alert_and_acknowledgement()
        self._corrections([*live, *early[:EARLY_CORRECTED]])
        good = self._training()
        self._release_the_good_one(good)
        self._before_and_after(live)
        self._bad_ones(good)
        self._report()

    # -- before production ------------------------------------------------------------------------------------------

    def _freeze_golden(self) -> None:
        with self._clock.stage("golden set, general and safety cases: frozen before the first request"):
            self._maria.runs("golden", "import", str(golden_file(self._settings, self._items.golden)), "--workload", WORKLOAD)
            for axis in ("general", "safety"):
                self._maria.runs("golden", "import", str(protected_file(axis)), "--workload", WORKLOAD)
            self._maria.runs("golden", "freeze", "--workload", WORKLOAD)

    # -- watch ------------------------------------------------------------------------------------------------------

    def _early_traffic(self) -> list[Asked]:
        asked = self._traffic("early traffic, answered by the base model", self._items.early[:EARLY_REQUESTS], "early")
        with self._clock.stage("everything sent is recorded"):
            wait_for(
                lambda: self._daemon.recorded() >= self._app.sent - self._app.failed or None,
                what="recording",
                seconds=90,
                alive=self._daemon.check,
            )
        return asked

    def _pin_reference(self) -> None:
        with self._clock.stage("the reference is pinned early, by maria"):
            self._maria.runs("reference", "pin", "--workload", WORKLOAD, "--reason", "the launch traffic is what we tested for")

    def _live_traffic(self) -> list[Asked]:
        return self._traffic("live traffic: users write now, mostly one tenant's", self._items.live, "live")

    def _alert_and_acknowledgement(self) -> None:
        with self._clock.stage("drift is judged and an alert opens"):
            alert = wait_for(self._daemon.firing_alert, what="an alert", seconds=120, alive=self._daemon.check)
        self._clock.say(alert.summary)
        self._clock.say(f"first action: {alert.first_action}")
        with self._clock.stage("maria acknowledges"):
            self._maria.runs("alerts", "ack", alert.id, "--note", "users found us; collecting fixes")

    # -- learn ------------------------------------------------------------------------------------------------------

    def _corrections(self, asked: Sequence[Asked]) -> None:
        with self._clock.stage("the support tool hands in its fixes") as step:
            handed = hand_in(
                asked,
                tickets=self._items.early[EARLY_REQUESTS:][:OLD_TICKETS],
                url=f"http://127.0.0.1:{self._settings.http.api_port}",
                token=token_of(self._settings, "support-desk"),
                workload=WORKLOAD,
                now=datetime.now(UTC),
                progress=lambda done, of: step(done=done, of=of),
            )
            expected = handed.fixes + handed.old_tickets + handed.contradictions
            wait_for(
                lambda: step(note=f"{self._daemon.decided()} of {expected} decided") or self._daemon.decided() >= expected or None,
                what="the desk's decisions",
                seconds=180,
                alive=self._daemon.check,
            )
        self._clock.fact("corrections", asdict(handed))

    def _training(self) -> AdapterName:
        with self._clock.stage("the trigger fires") as step:
            run = wait_for(lambda: next(iter(self._daemon.runs()), None), what="a run", seconds=180, alive=self._daemon.check)
            step(note=run.reason)
        with self._clock.stage("QLoRA: 4-bit NF4, TRL, PEFT, bitsandbytes", of=run.plan.policy.steps) as step:

            def trained() -> AdapterName | None:
                now = self._daemon.runs()[0]
                step(done=now.steps, note=str(now.metrics.get("loss", "")) and f"loss {now.metrics['loss']}")
                if now.state is RunState.FAILED:
                    raise CannotRun(f"the run failed: {now.reason}", where=now.id, remedy="Read var/demo/logs/trainer.log.")
                return now.adapter if now.state is RunState.TRAINED else None

            return wait_for(trained, what="training", seconds=1500, alive=self._daemon.check, every=1.0)

    # -- release ----------------------------------------------------------------------------------------------------

    def _release_the_good_one(self, adapter: AdapterName) -> None:
        self._until(adapter, ReleaseState.PROBED, "loaded into vLLM and proven to be applied")
        self._gated(adapter)
        self._with_users(adapter, ReleaseState.CANARY, "shadow: answers nobody sees", at_a_time=SHADOWED)
        self._with_users(adapter, ReleaseState.LIVE, "canary: a third of the sessions, sticky", at_a_time=CANARY_ROUND)

    def _gated(self, adapter: AdapterName) -> None:
        """Sixty items and a model this small: in some runs improvement cannot be shown. Then the gate's word stands in the report, and a
        named person lets the adapter on, so that shadow, canary and rollback are seen all the same."""
        with self._clock.stage("the gate: base, few-shot prompt and challenger on the same items") as step:

            def judged() -> Release | None:
                release = self._daemon.release_of(adapter)
                if release is None:
                    return None
                step(note=release.state.value)
                return release if release.state not in (ReleaseState.REGISTERED, ReleaseState.PROBED) else None

            release = wait_for(judged, what="the gate", seconds=1200, alive=self._daemon.check)
        self._show_gate(adapter)
        self._clock.say(f"{release.state.value}: {release.reason}")
        self._clock.fact("good_adapter", {"adapter": adapter, "passed_the_gate": release.state is not ReleaseState.REFUSED})
        if release.state is ReleaseState.REFUSED:
            with self._clock.stage("omar lets it past the gate, in his name: this time the items could not show it"):
                reason = f"the demo goes on to shadow and canary; the gate said: {release.reason}"
                self._omar.runs("release", "approve", release.id, "--override-gate", "--reason", reason[:300])

    def _before_and_after(self, live: Sequence[Asked]) -> None:
        chosen = [one for one in live if one.ok][:COMPARED]
        after = self._traffic("the same prompts again, now answered by the adapter", [one.item for one in chosen], "after")
        by_item = {one.item.id: one for one in after}
        table = Table("request", "before", "after", title="before and after", show_lines=True)
        better = [one for one in chosen if one.item.id in by_item and exactly_right(one.item, by_item[one.item.id].answer)]
        for one in [*better[:3], *[other for other in chosen if other not in better][:1]]:
            table.add_row(one.item.user.partition("\n")[2][:80], one.answer[:120], by_item[one.item.id].answer[:120])
        self._clock.show(table)
        self._clock.say(
            f"right before: {sum(exactly_right(one.item, one.answer) for one in chosen)} of {len(chosen)}, after: {len(better)}"
        )

    def _bad_ones(self, good: AdapterName) -> None:
        (none, not_applied), (most, broken), (some, sabotage) = self._make_bad(good)
        self._until(not_applied, ReleaseState.REFUSED, f"lora_B x {none}: refused by the probe")
        self._until(broken, ReleaseState.REFUSED, f"lora_B x {most}: refused by the gate", seconds=600)
        refused = self._until(sabotage, ReleaseState.REFUSED, f"lora_B x {some}: refused by the gate too", seconds=600)
        self._sabotage(sabotage, refused)

    def _sabotage(self, bad: AdapterName, refused: Release) -> None:
        with self._clock.stage("omar lets it past the gate, in his name"):
            self._omar.runs(
                "release", "approve", refused.id, "--override-gate", "--reason", "the demo's sabotage: the canary must catch it"
            )
        self._with_users(bad, ReleaseState.CANARY, "shadow of the sabotage", at_a_time=SHADOWED)
        self._with_users(bad, ReleaseState.ROLLED_BACK, "canary of the sabotage: caught and rolled back by itself", at_a_time=CANARY_ROUND)
        with self._clock.stage("the rollback is measured"):
            wait_for(lambda: self._daemon.rollback_measured(bad), what="the measurement", seconds=60, alive=self._daemon.check)

    # -- after ------------------------------------------------------------------------------------------------------

    def _report(self) -> None:
        with self._clock.stage("everything sent is recorded, again"):
            self._daemon.settle(self._app.sent - self._app.failed)
        self._clock.fact("traffic", {"sent": self._app.sent, "failed": self._app.failed, **self._daemon.counts()})
        self._clock.fact("total", {"seconds": round(self._clock.total_seconds(), 1)})
        written = write_report(ledger=self._settings.data_dir / "ledger.db", workload=WORKLOAD, out=self._settings.data_dir)
        self._clock.show(self._clock.table())
        self._clock.say(f"report: {written.json}   page: {written.html}")

    # -- shared by the stages ---------------------------------------------------------------------------------------

    def _traffic(self, name: str, items: Sequence[ToolItem], round_name: str) -> list[Asked]:
        with self._clock.stage(name, of=len(items)) as step:
            asked = self._app.send(items, round_name=round_name, done=lambda _: step())
        lost = sum(not one.ok for one in asked)
        if lost:
            raise CannotRun(f"{lost} of {len(asked)} requests failed", where=name, remedy="Read var/demo/logs/gateway.log.")
        return asked

    def _until(self, adapter: AdapterName, state: ReleaseState, name: str, *, seconds: float = 240) -> Release:
        with self._clock.stage(name) as step:
            release = wait_for(lambda: self._reached(adapter, state, step), what=name, seconds=seconds, alive=self._daemon.check)
        self._clock.say(f"{release.state.value}: {release.reason}")
        return release

    def _with_users(self, adapter: AdapterName, state: ReleaseState, name: str, *, at_a_time: int) -> None:
        """Users go on asking, ``at_a_time`` requests and then a look, until the release gets there."""
        with self._clock.stage(name) as step:
            for _ in range(20):
                self._round += 1
                first = self._round * at_a_time % len(self._items.live)
                items = [*self._items.live[first:], *self._items.live[:first]][:at_a_time]
                self._app.send_until(
                    items, round_name=f"r{self._round}", done=lambda _: step(), enough=lambda: self._at(adapter, state) is not None
                )
                release = self._soon(adapter, state, step)
                if release is not None:
                    break
            else:
                raise CannotRun(f"{name} was not reached", where=adapter, remedy="Read var/demo/logs/release_controller.log.")
        self._clock.say(f"{release.state.value}: {release.reason}")

    def _soon(self, adapter: AdapterName, state: ReleaseState, step: Any) -> Release | None:
        """What was answered must be recorded and looked at before more users are needed."""
        try:
            return wait_for(lambda: self._reached(adapter, state, step), what="the release", seconds=12, alive=self._daemon.check)
        except TimeoutError:
            return None

    def _at(self, adapter: AdapterName, state: ReleaseState) -> Release | None:
        release = self._daemon.release_of(adapter)
        return release if release is not None and release.state is state else None

    def _reached(self, adapter: AdapterName, state: ReleaseState, step: Any) -> Release | None:
        """The release once it is there, or past it; an end that the story does not know ends the demo with its reason."""
        release = self._daemon.release_of(adapter)
        if release is None:
            return None
        step(note=release.state.value)
        order = [
            ReleaseState.REGISTERED,
            ReleaseState.PROBED,
            ReleaseState.GATED,
            ReleaseState.SHADOW,
            ReleaseState.CANARY,
            ReleaseState.LIVE,
        ]
        if release.state is state:
            return release
        if state in order and release.state in order:
            return release if order.index(release.state) > order.index(state) else None
        if release.state in (ReleaseState.REFUSED, ReleaseState.ROLLED_BACK) or release.state is ReleaseState.LIVE:
            raise CannotRun(
                f"the release is {release.state.value}: {release.reason}",
                where=release.id,
                remedy="Read the report; this is not the demo's story.",
            )
        return None

    def _make_bad(self, good: AdapterName) -> list[tuple[str, AdapterName]]:
        """(factor, name) each: one that does nothing, one that is broken, and the sabotage."""
        with self._clock.stage("bad adapters are made: lora_B x 0, and the factors at which this one breaks"):
            arguments = ["--config", str(self._config), "--adapter", good, "--factor", "0", "--harm", *map(str, HARMS)]
            done = subprocess.run(
                [sys.executable, "-m", "services.cli.demo.sabotage", *arguments],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
            )
            if done.returncode != 0:
                raise CannotRun(done.stderr.strip()[-400:], where="sabotage", remedy="Read the message.")
            lines = [line.split() for line in done.stdout.splitlines()[-1 - len(HARMS) :]]
            return [(factor, AdapterName(name)) for factor, name in lines]

    def _show_gate(self, adapter: AdapterName) -> None:
        gate = self._daemon.gate_of(adapter)
        if gate is None:
            return
        table = Table(
            "axis",
            "n",
            "baseline",
            "challenger",
            "wins",
            "losses",
            "p",
            "margin (standard)",
            "verdict",
            title=f"gate: {gate.decision.reason}",
        )
        for axis in gate.decision.axes:
            table.add_row(
                axis.name,
                str(axis.n),
                f"{axis.baseline:.0%} {axis.baseline_arm}",
                f"{axis.challenger:.0%}",
                str(axis.wins),
                str(axis.losses),
                "" if axis.test.p is None else f"{axis.test.p:.2g}",
                f"{axis.test.margin:.0%} ({axis.test.standard_margin:.0%})",
                axis.verdict.value,
            )
        self._clock.show(table)
