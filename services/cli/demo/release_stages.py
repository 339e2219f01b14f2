"""The demo's releases: a good adapter goes live, three bad ones are stopped.

In: adapters, users who send requests. Out: what the release controller did; an end that the demo does not expect raises CannotRun with
its reason.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

from rich.table import Table

from flywheel.errors import CannotRun
from flywheel.ids import AdapterName
from flywheel.rollout.release import Release, ReleaseState
from services.cli.demo.app_traffic import AppTraffic
from services.cli.demo.daemon import Daemon
from services.cli.demo.people import Colleague
from services.cli.demo.stage_clock import StageClock, wait_for
from services.cli.demo.tool_router import ToolItem

SHADOWED = 22  # two more than the policy asks for
CANARY_ROUND = 80
ROUNDS = 20
SILENT_SECONDS = 600.0  # without one more answer of a gate
HARMS = (0.4, 0.12)  # nats a token: of the adapter that the gate must stop, and of the sabotage, most of whose answers are no JSON
PATH_TO_LIVE = (
    ReleaseState.REGISTERED,
    ReleaseState.PROBED,
    ReleaseState.GATED,
    ReleaseState.SHADOW,
    ReleaseState.CANARY,
    ReleaseState.LIVE,
)


class GateWait(TypedDict):
    """By what a wait is known to go on."""

    alive: Callable[[], None]
    moves: Callable[[], object]


class ReleaseStages:
    """Each method is one stage."""

    def __init__(
        self, *, config: Path, clock: StageClock, daemon: Daemon, app: AppTraffic, omar: Colleague, live: Sequence[ToolItem]
    ) -> None:
        self._config, self._clock, self._daemon, self._app, self._omar, self._live = config, clock, daemon, app, omar, live
        self._round = 0

    def release(self, adapter: AdapterName) -> None:
        self._until(adapter, ReleaseState.PROBED, "loaded into vLLM, served weights checked")
        self._gated(adapter)
        self._with_users(adapter, ReleaseState.CANARY, "shadow: answers that no user sees", at_a_time=SHADOWED)
        self._with_users(adapter, ReleaseState.LIVE, "canary: a third of the sessions, sticky", at_a_time=CANARY_ROUND)

    def _gated(self, adapter: AdapterName) -> None:
        """With sixty items and a model this small, some runs cannot show an improvement. Then the report has the gate's refusal, and a
        named person overrides it, so that shadow, canary and rollback run all the same."""
        with self._clock.stage("the gate: base, few-shot prompt and challenger on the same items") as step:

            def judged() -> Release | None:
                release = self._daemon.release_of(adapter)
                if release is None:
                    return None
                step(note=release.state.value)
                return release if release.state not in (ReleaseState.REGISTERED, ReleaseState.PROBED) else None

            release = wait_for(judged, what="the gate", seconds=SILENT_SECONDS, **self._watched())
        self._show_gate(adapter)
        self._clock.say(f"{release.state.value}: {release.reason}")
        self._clock.fact("good_adapter", {"adapter": adapter, "passed_the_gate": release.state is not ReleaseState.REFUSED})
        if release.state is ReleaseState.REFUSED:
            with self._clock.stage("omar overrides the gate, in his name: this time the items cannot show an improvement"):
                reason = f"the demo goes on to shadow and canary; the gate: {release.reason}"
                self._omar.runs("release", "approve", release.id, "--override-gate", "--reason", reason[:300])

    def try_bad_adapters(self, good: AdapterName) -> None:
        (none, not_applied), (most, broken), (some, sabotage) = self._make_bad(good)
        self._until(not_applied, ReleaseState.REFUSED, f"lora_B x {none}: refused by the probe")
        self._until(broken, ReleaseState.REFUSED, f"lora_B x {most}: refused by the gate")
        refused = self._until(sabotage, ReleaseState.REFUSED, f"lora_B x {some}: refused by the gate too")
        self._sabotage(sabotage, refused)

    def _sabotage(self, bad: AdapterName, refused: Release) -> None:
        with self._clock.stage("omar overrides the gate, in his name"):
            self._omar.runs(
                "release", "approve", refused.id, "--override-gate", "--reason", "the demo's sabotage: the canary must catch it"
            )
        self._with_users(bad, ReleaseState.CANARY, "shadow of the sabotage", at_a_time=SHADOWED)
        self._with_users(
            bad, ReleaseState.ROLLED_BACK, "canary of the sabotage: detected and rolled back automatically", at_a_time=CANARY_ROUND
        )
        with self._clock.stage("the rollback is measured"):
            wait_for(lambda: self._daemon.rollback_measured(bad), what="the measurement", seconds=60, alive=self._daemon.check)

    def _until(self, adapter: AdapterName, state: ReleaseState, name: str) -> Release:
        with self._clock.stage(name) as step:
            release = wait_for(lambda: self._reached(adapter, state, step), what=name, seconds=SILENT_SECONDS, **self._watched())
        self._clock.say(f"{release.state.value}: {release.reason}")
        return release

    def _watched(self) -> GateWait:
        return {"alive": self._daemon.check, "moves": self._daemon.gate_answers}

    def _with_users(self, adapter: AdapterName, state: ReleaseState, name: str, *, at_a_time: int) -> None:
        """Sends ``at_a_time`` requests again and again, until the release has this state."""
        with self._clock.stage(name) as step:
            for _ in range(ROUNDS):
                self._round += 1
                first = self._round * at_a_time % len(self._live)
                items = [*self._live[first:], *self._live[:first]][:at_a_time]
                self._app.send_until(
                    items, round_name=f"r{self._round}", done=lambda _: step(), enough=lambda: self._at(adapter, state) is not None
                )
                release = self._soon(adapter, state, step)
                if release is not None:
                    break
            else:
                raise CannotRun(f"{name} was not reached", where=adapter, remedy="Read var/demo/logs/host.log.")
        self._clock.say(f"{release.state.value}: {release.reason}")

    def _soon(self, adapter: AdapterName, state: ReleaseState, step: Any) -> Release | None:
        """Waits a little: the answers must be recorded and judged before more users are needed."""
        try:
            return wait_for(lambda: self._reached(adapter, state, step), what="the release", seconds=12, alive=self._daemon.check)
        except TimeoutError:
            return None

    def _at(self, adapter: AdapterName, state: ReleaseState) -> Release | None:
        release = self._daemon.release_of(adapter)
        return release if release is not None and release.state is state else None

    def _reached(self, adapter: AdapterName, state: ReleaseState, step: Any) -> Release | None:
        """The release once it has this state or a later one. Raises CannotRun when it ended in another way."""
        release = self._daemon.release_of(adapter)
        if release is None:
            return None
        step(note=release.state.value)
        if release.state is state:
            return release
        if state in PATH_TO_LIVE and release.state in PATH_TO_LIVE:
            return release if PATH_TO_LIVE.index(release.state) > PATH_TO_LIVE.index(state) else None
        if release.state in (ReleaseState.REFUSED, ReleaseState.ROLLED_BACK) or release.state is ReleaseState.LIVE:
            raise CannotRun(
                f"the release is {release.state.value}: {release.reason}",
                where=release.id,
                remedy="Read the report: the demo expects another end.",
            )
        return None

    def _make_bad(self, good: AdapterName) -> list[tuple[str, AdapterName]]:
        """(factor, name) of three adapters: one without effect, one that is broken, and the sabotage."""
        with self._clock.stage("three bad adapters: lora_B x 0, and the factors at which this one breaks"):
            arguments = ["--config", str(self._config), "--adapter", good, "--factor", "0", "--harm", *map(str, HARMS)]
            done = subprocess.run(
                [sys.executable, "-m", "services.cli.demo.make_bad_adapters", *arguments],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
            )
            if done.returncode != 0:
                raise CannotRun(done.stderr.strip()[-400:], where="make_bad_adapters", remedy="Read the message.")
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
