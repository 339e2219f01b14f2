"""One full cycle, in order: traffic, drift, alert, acknowledgement, corrections, training, gate, release, rollback.

In: deploy/demo/flywheel.yaml, the model and the data that ``make setup`` fetched. Out: var/demo/report.json and an HTML page.
The daemon's own processes do every step; the driver plays the users, the support tool and the named people, and waits.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from flywheel.errors import CannotRun
from flywheel.ids import AdapterName
from flywheel.retraining.training_run import RunState
from services.cli.demo.app_traffic import AppTraffic, Asked
from services.cli.demo.daemon import Daemon
from services.cli.demo.items_and_files import demo_items, golden_file, protected_file
from services.cli.demo.people import Colleague, token_of
from services.cli.demo.release_stages import ReleaseStages
from services.cli.demo.stage_clock import StageClock, wait_for
from services.cli.demo.support_tool import submit_corrections
from services.cli.demo.tool_router import WORKLOAD, ToolItem, is_correct
from services.cli.demo.write_report import write_demo_report
from services.settings import Settings

EARLY_REQUESTS = 70
EARLY_CORRECTED = 70  # of the early requests, the support team looks at these too
CONCURRENCY = 12
OLD_TICKETS = 40  # solved in the weeks before the daemon was there; each brings its own request
COMPARED = 16  # prompts asked again at the end


class DemoCycle:
    """Each method is one stage."""

    def __init__(self, *, settings: Settings, config: Path, clock: StageClock, daemon: Daemon) -> None:
        self._settings, self._config, self._clock, self._daemon = settings, config, clock, daemon
        self._maria = Colleague("maria", settings=settings, config=config)
        workload = settings.workloads[WORKLOAD]
        self._app = AppTraffic(
            url=f"http://127.0.0.1:{settings.http.gateway_port}",
            token=token_of(settings, "tool-app"),
            alias=workload.alias,
            max_tokens=workload.sampling.max_tokens,
            concurrency=CONCURRENCY,
        )

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
        trained = self._training()
        releases = ReleaseStages(
            config=self._config,
            clock=self._clock,
            daemon=self._daemon,
            app=self._app,
            omar=Colleague("omar", settings=self._settings, config=self._config),
            live=self._items.live,
        )
        releases.release(trained)
        self._before_and_after(live)
        releases.try_bad_adapters(trained)
        self._report()

    def _freeze_golden(self) -> None:
        with self._clock.stage("golden set, general and safety cases: frozen before the first request"):
            self._maria.runs("golden", "import", str(golden_file(self._settings, self._items.golden)), "--workload", WORKLOAD)
            for axis in ("general", "safety"):
                self._maria.runs("golden", "import", str(protected_file(axis)), "--workload", WORKLOAD)
            self._maria.runs("golden", "freeze", "--workload", WORKLOAD)

    def _early_traffic(self) -> list[Asked]:
        asked = self._traffic("early traffic, answered by the base model", self._items.early[:EARLY_REQUESTS], "early")
        with self._clock.stage("everything sent is recorded"):
            wait_for(
                lambda: self._daemon.recorded() >= self._app.sent - self._app.failed or None,
                what="recording",
                seconds=90,
                alive=self._daemon.check,
                moves=self._daemon.recorded,
            )
        return asked

    def _pin_reference(self) -> None:
        with self._clock.stage("maria pins the early traffic as the reference"):
            self._maria.runs("reference", "pin", "--workload", WORKLOAD, "--reason", "the launch traffic is what we tested for")

    def _live_traffic(self) -> list[Asked]:
        return self._traffic("live traffic: written by users, mostly of one tenant", self._items.live, "live")

    def _alert_and_acknowledgement(self) -> None:
        with self._clock.stage("drift is detected and an alert opens"):
            alert = wait_for(self._daemon.firing_alert, what="an alert", seconds=120, alive=self._daemon.check)
        self._clock.say(alert.message.summary)
        self._clock.say(f"first action: {alert.message.first_action}")
        with self._clock.stage("maria acknowledges"):
            self._maria.runs("alerts", "ack", alert.id, "--note", "users found us; collecting corrections")

    def _corrections(self, asked: Sequence[Asked]) -> None:
        with self._clock.stage("the support tool submits its corrections") as step:
            submitted = submit_corrections(
                asked,
                tickets=self._items.early[EARLY_REQUESTS:][:OLD_TICKETS],
                url=f"http://127.0.0.1:{self._settings.http.api_port}",
                token=token_of(self._settings, "support-desk"),
                workload=WORKLOAD,
                now=datetime.now(UTC),
                progress=lambda done, of: step(done=done, of=of),
            )
            expected = submitted.fixes + submitted.old_tickets + submitted.contradictions
            wait_for(
                lambda: step(note=f"{self._daemon.decided()} of {expected} decided") or self._daemon.decided() >= expected or None,
                what="the decisions on them",
                seconds=180,
                alive=self._daemon.check,
                moves=self._daemon.decided,
            )
        self._clock.fact("corrections", asdict(submitted))

    def _training(self) -> AdapterName:
        with self._clock.stage("the retraining trigger fires") as step:
            run = wait_for(lambda: next(iter(self._daemon.runs()), None), what="a run", seconds=180, alive=self._daemon.check)
            step(note=run.reason)
        with self._clock.stage("QLoRA: 4-bit NF4, TRL, PEFT, bitsandbytes", of=run.plan.policy.steps) as step:

            def trained() -> AdapterName | None:
                now = self._daemon.runs()[0]
                step(done=now.steps, note=str(now.metrics.get("loss", "")) and f"loss {now.metrics['loss']}")
                if now.state is RunState.FAILED:
                    raise CannotRun(f"the run failed: {now.reason}", where=now.id, remedy="Read var/demo/logs/host.log.")
                return now.adapter if now.state is RunState.TRAINED else None

            def steps() -> int:
                return self._daemon.runs()[0].steps

            return wait_for(trained, what="training", seconds=900, alive=self._daemon.check, moves=steps, every=1.0)

    def _before_and_after(self, live: Sequence[Asked]) -> None:
        chosen = [one for one in live if one.ok][:COMPARED]
        after = self._traffic("the same prompts again, now answered by the adapter", [one.item for one in chosen], "after")
        by_item = {one.item.id: one for one in after}
        table = Table("request", "before", "after", title="before and after", show_lines=True)
        better = [one for one in chosen if one.item.id in by_item and is_correct(one.item, by_item[one.item.id].answer)]
        for one in [*better[:3], *[other for other in chosen if other not in better][:1]]:
            table.add_row(one.item.user.partition("\n")[2][:80], one.answer[:120], by_item[one.item.id].answer[:120])
        self._clock.show(table)
        self._clock.say(f"correct before: {sum(is_correct(one.item, one.answer) for one in chosen)} of {len(chosen)}, after: {len(better)}")

    def _report(self) -> None:
        with self._clock.stage("everything sent is recorded"):
            self._daemon.settle(self._app.sent - self._app.failed)
        self._clock.fact("traffic", {"sent": self._app.sent, "failed": self._app.failed, **self._daemon.counts()})
        self._clock.fact("total", {"seconds": round(self._clock.total_seconds(), 1)})
        written = write_demo_report(ledger=self._settings.data_dir / "ledger.db", workload=WORKLOAD, out=self._settings.data_dir)
        self._clock.show(self._clock.table())
        self._clock.say(f"report: {written.json}   page: {written.html}")

    def _traffic(self, name: str, items: Sequence[ToolItem], round_name: str) -> list[Asked]:
        with self._clock.stage(name, of=len(items)) as step:
            asked = self._app.send(items, round_name=round_name, done=lambda _: step())
        lost = sum(not one.ok for one in asked)
        if lost:
            raise CannotRun(f"{lost} of {len(asked)} requests failed", where=name, remedy="Read var/demo/logs/gateway.log.")
        return asked
