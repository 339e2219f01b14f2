"""Keeps a list of parts alive: starts them in order, restarts what dies, ends all in reverse order.

In: parts, a function that receives reports, a stop event. Leaves no process behind.
Does not define the parts (services/cli/up/wiring.py) or print them (services/cli/up/command.py).
"""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import isinf

from flywheel.errors import CannotRun, FlywheelError
from services.cli.up.wiring import NO_ANSWER, Running, StartTier, SupervisedPart
from services.process.child_process import last_error

TICK_SECONDS = 0.2  # between two checks of the parts while they start
READY_TICK_SECONDS = 0.5  # once all parts are ready
PROBE_SECONDS = 0.5  # between readiness questions to one part while it starts
WATCH_SECONDS = 15.0  # and afterwards
SAY_SECONDS = 15.0  # between two messages about parts that are not ready
HANG_GRACE_SECONDS = 1.0  # a part that does not answer hardly listens to SIGTERM
OUR_REFUSALS = (2, 3)  # exit codes of bad settings and of refusals: starting again changes nothing


class PartState(StrEnum):
    """Waiting -> starting -> ready; restarting in between; ended, or failed for good."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    NOT_READY = "not ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """When to start again, and when to give up. A part that was ready once, or without which users are answered, is never given up: that
    would end the gateway, and the users' requests with it."""

    settled_seconds: float = 5.0  # a part that was ready and lived so long is started again without a pause
    deaths: int = 5  # of a part that was never ready
    within_seconds: float = 60.0
    first_pause: float = 0.5
    longest_pause: float = 8.0
    longest_pause_before_ready: float = 60.0


@dataclass(frozen=True, kw_only=True)
class AfterDeath:
    """Start again after ``pause`` seconds, or give up because of ``reason``."""

    pause: float | None
    reason: str


@dataclass(kw_only=True)
class Watched:
    """A part and what became of it."""

    part: SupervisedPart
    state: PartState = PartState.WAITING
    reason: str = ""
    running: Running | None = None
    started: float = 0.0
    was_ready: bool = False
    deaths: list[float] = field(default_factory=list)
    restart_at: float | None = None
    asked_at: float = 0.0
    silent_since: float | None = None  # it has given no answer at all, not even that it is not ready


Report = Callable[[Watched], None]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a part ended. ``exit_code``: negative when a signal ended it. ``silent_for``: seconds after which we ended it."""

    exit_code: int
    silent_for: float | None = None

    def __str__(self) -> str:
        if self.silent_for is not None:
            return f"it gave no answer for {self.silent_for:.0f} s and was ended"
        if self.exit_code >= 0:
            return f"exit code {self.exit_code}"
        names = {number.value: number.name for number in signal.Signals}
        return f"signal {-self.exit_code}, {names.get(-self.exit_code, 'unknown')}"


def after_death(
    *, deaths: Sequence[float], lived: float, was_ready: bool, restarts_before_ready: float, how: Ended, policy: RestartPolicy
) -> AfterDeath:
    """``deaths``: all times of death so far, the present one last; ``lived``: seconds since its start. A part that was never ready gets
    fewer restarts than one that was, unless ``restarts_before_ready`` is infinite."""
    all_deaths, now = list(deaths), deaths[-1]
    recent = [moment for moment in all_deaths if now - moment <= policy.within_seconds]
    if not was_ready and isinf(restarts_before_ready):
        pause = min(policy.longest_pause_before_ready, policy.first_pause * 2 ** min(len(all_deaths) - 1, 30))
        return AfterDeath(pause=pause, reason=f"it ended before it was ready ({how}), restart {len(all_deaths)} in {pause:g} s")
    if not was_ready and how.exit_code in OUR_REFUSALS:
        return AfterDeath(pause=None, reason=f"it refused to start ({how})")
    if not was_ready and len(all_deaths) > restarts_before_ready:
        return AfterDeath(pause=None, reason=f"it ended before it was ready ({how})")
    if not was_ready and len(recent) >= policy.deaths:
        return AfterDeath(pause=None, reason=f"it died {len(recent)} times within {policy.within_seconds:g} s ({how})")
    if was_ready and lived >= policy.settled_seconds:
        return AfterDeath(pause=0.0, reason=f"it died ({how}), restart {len(all_deaths)}")
    pause = min(policy.longest_pause, policy.first_pause * 2 ** (len(recent) - 1))
    return AfterDeath(pause=pause, reason=f"it died ({how}), restart {len(all_deaths)} in {pause:g} s")


class Supervisor:
    """One run of ``flywheel up``. ``run`` returns when it was asked to stop, and raises CannotRun when a part cannot be restarted."""

    def __init__(
        self,
        parts: Iterable[SupervisedPart],
        *,
        report: Report,
        stop: threading.Event,
        policy: RestartPolicy | None = None,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """``wait``: for so many seconds, or less when something has happened, such as the death of a child."""
        self.watched = tuple(Watched(part=part) for part in parts)
        self._report, self._stop, self._policy, self._wait = report, stop, policy or RestartPolicy(), wait or stop.wait

    def run(
        self,
        *,
        all_ready: Callable[[float], None],
        still_waiting: Callable[[list[Watched]], None] = lambda _: None,
        each_look: Callable[[], None] = lambda: None,
    ) -> None:
        """``all_ready`` is called once, with the seconds it took; ``still_waiting`` now and then before it;
        ``each_look`` after each look at the parts.

        Everything is ended before this returns or raises.
        """
        began = time.monotonic()
        announced, said = False, began
        try:
            for watched in self.watched:
                if self._stop.is_set():
                    return
                self._start(watched)
            while not self._stop.is_set():
                for watched in self.watched:
                    for each in self.watched:  # before each question: an answer may take a second, and a dead part must not wait for it
                        self._restart_if_dead(each)
                    self._ask(watched)
                each_look()
                if not announced and all(watched.state is PartState.READY for watched in self.watched):
                    announced = True
                    all_ready(time.monotonic() - began)
                if not announced and time.monotonic() - said > SAY_SECONDS:
                    said = time.monotonic()
                    still_waiting([watched for watched in self.watched if watched.state is not PartState.READY])
                self._wait(READY_TICK_SECONDS if announced else TICK_SECONDS)
        finally:
            self.end_all()

    def end_all(self) -> None:
        """Ends tier by tier, in reverse order of start. Parts of a tier end at the same time, so that grace periods do not add up."""
        for tier in reversed(StartTier):
            ending = [watched for watched in reversed(self.watched) if watched.part.tier is tier and watched.running is not None]
            for watched in ending:
                if watched.running is not None:
                    watched.running.ask_to_end()
            began = time.monotonic()
            for watched in ending:
                assert watched.running is not None
                grace = watched.part.grace_seconds
                went = watched.running.end(seconds=max(0.1, began + grace - time.monotonic()))
                watched.running = None
                if watched.state is not PartState.FAILED:
                    self._becomes(watched, PartState.ENDED, "" if went else f"it had to be killed after {grace:g} s")

    def _start(self, watched: Watched) -> None:
        watched.restart_at = None
        watched.started, watched.silent_since = time.monotonic(), None
        self._becomes(watched, PartState.STARTING, "")
        try:
            watched.running = watched.part.start()
        except FlywheelError as error:
            if self._is_kept(watched):
                watched.restart_at = time.monotonic() + self._policy.longest_pause
                self._becomes(watched, PartState.RESTARTING, f"it cannot be started: {error}")
                return
            self._becomes(watched, PartState.FAILED, str(error))
            raise

    def _restart_if_dead(self, watched: Watched) -> None:
        if watched.running is not None and (exit_code := watched.running.exit_code()) is not None:
            self._died(watched, Ended(exit_code=exit_code), time.monotonic())
        if watched.restart_at is not None and time.monotonic() >= watched.restart_at:
            self._start(watched)
        if watched.state is PartState.READY:
            watched.part.provide_spare()

    def _ask(self, watched: Watched) -> None:
        now = time.monotonic()
        if watched.running is None:
            return
        pause = WATCH_SECONDS if watched.state is PartState.READY else PROBE_SECONDS
        if now - watched.asked_at < pause:
            return
        watched.asked_at = now
        why_not = watched.part.why_not_ready()
        if self._hangs(watched, why_not, now):
            return
        if why_not is None:
            watched.was_ready = True
            self._becomes(watched, PartState.READY, "")
        elif watched.state is PartState.READY:
            self._becomes(watched, PartState.NOT_READY, why_not)
        elif watched.was_ready or now - watched.started < watched.part.start_seconds:
            watched.reason = why_not
        elif self._is_kept(watched):
            self._becomes(watched, PartState.NOT_READY, why_not)
        else:
            reason = f"it was not ready after {watched.part.start_seconds:g} s: {why_not}"
            self._give_up(watched, reason)

    def _is_kept(self, watched: Watched) -> bool:
        """Whether it is tried again and again: it could be started before, or users are answered without it."""
        return watched.was_ready or isinf(watched.part.restarts_before_ready)

    def _hangs(self, watched: Watched, why_not: str | None, now: float) -> bool:
        """Whether it was ended because it gave no answer for its time."""
        if why_not is None or NO_ANSWER not in why_not:
            watched.silent_since = None
            return False
        watched.silent_since = watched.silent_since or now
        patience = watched.part.hangs_after if watched.state is PartState.NOT_READY else watched.part.start_seconds
        if not self._is_kept(watched) or now - watched.silent_since < patience:
            return False
        assert watched.running is not None
        watched.running.end(seconds=HANG_GRACE_SECONDS)
        self._died(watched, Ended(exit_code=-signal.SIGKILL, silent_for=now - watched.silent_since), now)
        return True

    def _died(self, watched: Watched, how: Ended, now: float) -> None:
        assert watched.running is not None
        watched.running.end(seconds=0.1)  # its own children may live on
        watched.running = None
        watched.deaths.append(now)
        longest = min(self._policy.longest_pause, watched.part.longest_pause)
        verdict = after_death(
            deaths=watched.deaths,
            lived=now - watched.started,
            was_ready=watched.was_ready,
            restarts_before_ready=watched.part.restarts_before_ready,
            how=how,
            policy=self._policy if how.exit_code in OUR_REFUSALS else replace(self._policy, longest_pause=longest),
        )
        if verdict.pause is None:
            self._give_up(watched, verdict.reason)
        else:
            watched.restart_at = now + verdict.pause
            why = "" if watched.was_ready else f": {last_error(watched.part.log)}"
            self._becomes(watched, PartState.RESTARTING, verdict.reason + why)

    def _give_up(self, watched: Watched, reason: str) -> None:
        why = last_error(watched.part.log)
        self._becomes(watched, PartState.FAILED, reason)
        raise CannotRun(
            f"{reason}: {why.rstrip('.')}",
            where=watched.part.name,
            remedy=f"Its whole log is {watched.part.log}; `flywheel doctor` may say more.",
        )

    def _becomes(self, watched: Watched, state: PartState, reason: str) -> None:
        if (watched.state, watched.reason) != (state, reason):
            watched.state, watched.reason = state, reason
            self._report(watched)
