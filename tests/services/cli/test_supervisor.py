"""``flywheel up``'s watch, on real child processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf, isinf
from pathlib import Path

import pytest

from flywheel.errors import CannotRun
from services.cli import doctor
from services.cli.doctor import CheckLevel
from services.cli.up import command as up_command
from services.cli.up import supervisor
from services.cli.up.spare import WithSpare
from services.cli.up.supervisor import Ended, PartState, RestartPolicy, Supervisor, Watched, after_death
from services.cli.up.wiring import StartTier, SupervisedPart, health_answer, parts, prepare
from services.integrations.kafka.embedded_broker import EmbeddedBroker
from services.process.child_process import ChildCommand, ProcessGroup, last_error
from services.process.machine import read_machine
from services.process.process_group import members
from services.process.start_stop import SignalOrTime
from services.settings import Settings
from services.settings.sections import GatewaySettings
from services.stores.database import open_ledger
from services.stores.ledger.journal import LedgerJournal
from tests.ports import free_port
from tests.small_disk import fill, small_file_system

SLEEPS = "import time; time.sleep(600)"
DEADLINE = 20.0


@pytest.fixture
def group() -> Iterator[ProcessGroup]:
    held = ProcessGroup(mark=f"test-{os.getpid()}-{time.monotonic_ns()}")
    yield held
    held.release()


def part(
    group: ProcessGroup,
    tmp_path: Path,
    name: str,
    code: str,
    *,
    tier: StartTier = StartTier.WORK,
    ready: Callable[[], str | None] | None = None,
) -> SupervisedPart:
    command = ChildCommand(
        name=name, arguments=(sys.executable, "-S", "-c", code), log=tmp_path / f"{name}.log", environment=dict(os.environ)
    )
    return SupervisedPart(
        name=name,
        tier=tier,
        start=lambda: group.start(command),
        why_not_ready=ready or (lambda: None),
        log=command.log,
        start_seconds=DEADLINE,
        restarts_before_ready=1,
        address="nowhere",
    )


class Story:
    """Runs a supervisor in a thread; keeps what it reported."""

    def __init__(self, *parts: SupervisedPart, policy: RestartPolicy | None = None) -> None:
        self.told: list[tuple[str, PartState]] = []
        self.reasons: list[str] = []
        self.error: Exception | None = None
        self.ready, self.stop = threading.Event(), threading.Event()
        self.supervisor = Supervisor(parts, report=self._hear, stop=self.stop, policy=policy)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _hear(self, watched: Watched) -> None:
        self.told.append((watched.part.name, watched.state))
        self.reasons.append(watched.reason)

    def _run(self) -> None:
        try:
            self.supervisor.run(all_ready=lambda _: self.ready.set())
        except CannotRun as error:
            self.error = error

    def pid(self, name: str) -> int:
        running = next(watched.running for watched in self.supervisor.watched if watched.part.name == name)
        assert running is not None
        return running.pid

    def end(self) -> None:
        self.stop.set()
        self.join()

    def join(self) -> None:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def test_parts_start_in_order_and_end_in_the_mirror_order(group: ProcessGroup, tmp_path: Path) -> None:
    story = Story(
        part(group, tmp_path, "broker", SLEEPS, tier=StartTier.BROKER),
        part(group, tmp_path, "gateway", SLEEPS, tier=StartTier.FRONT),
        part(group, tmp_path, "monitor", SLEEPS),
    )
    assert story.ready.wait(DEADLINE)
    pids = [story.pid(name) for name in ("broker", "gateway", "monitor")]
    story.end()
    assert [name for name, state in story.told if state is PartState.STARTING] == ["broker", "gateway", "monitor"]
    assert [name for name, state in story.told if state is PartState.ENDED] == ["monitor", "gateway", "broker"]
    assert members(frozenset(pids)) == []


def test_a_part_that_dies_is_started_again(group: ProcessGroup, tmp_path: Path) -> None:
    story = Story(part(group, tmp_path, "desk", SLEEPS), policy=RestartPolicy(first_pause=0.01))
    assert story.ready.wait(DEADLINE)
    first = story.pid("desk")
    os.kill(first, signal.SIGKILL)
    until(lambda: story.told.count(("desk", PartState.READY)) == 2)
    assert story.pid("desk") != first
    story.end()
    assert story.error is None


def test_the_death_of_a_child_ends_a_wait() -> None:
    before, signals = signal.getsignal(signal.SIGCHLD), SignalOrTime()
    try:
        began = time.monotonic()
        subprocess.Popen([sys.executable, "-S", "-c", ""])
        signals.wait(DEADLINE)
        assert time.monotonic() - began < DEADLINE
        signals.wait(0.0)  # what has woken it once does not again
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, before)


def test_a_part_that_was_ready_once_is_started_again_however_often_it_dies(group: ProcessGroup, tmp_path: Path) -> None:
    crash = "import time; time.sleep(0.3); raise SystemExit('ValueError: poisoned')"
    gateway = part(group, tmp_path, "gateway", SLEEPS, tier=StartTier.FRONT)
    story = Story(gateway, part(group, tmp_path, "windower", crash), policy=RestartPolicy(deaths=2, first_pause=0.01, longest_pause=0.01))
    until(lambda: story.told.count(("windower", PartState.RESTARTING)) == 5)
    assert ("gateway", PartState.ENDED) not in story.told
    story.end()
    assert story.error is None


ANSWERS = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
HTTPServer(("127.0.0.1", {port}), Health).serve_forever()
"""


def test_a_part_whose_health_hangs_is_ended_and_started_again(group: ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "WATCH_SECONDS", 0.1)
    address = f"http://127.0.0.1:{(port := free_port())}"
    hanging = part(group, tmp_path, "desk", ANSWERS.format(port=port), ready=lambda: health_answer(address))
    story = Story(replace(hanging, hangs_after=1.5), policy=RestartPolicy(first_pause=0.01))
    assert story.ready.wait(DEADLINE)
    first = story.pid("desk")
    os.kill(first, signal.SIGSTOP)
    until(lambda: story.told.count(("desk", PartState.READY)) == 2)
    assert story.pid("desk") != first
    assert members(frozenset([first])) == []
    assert [reason.partition(" for ")[0] for reason in story.reasons if reason.startswith("it died")] == ["it died (it gave no answer"]
    story.end()


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (Ended(exit_code=1), "exit code 1"),
        (Ended(exit_code=-9), "signal 9, SIGKILL"),
        (Ended(exit_code=-11), "signal 11, SIGSEGV"),
        (Ended(exit_code=-99), "signal 99, unknown"),
        (Ended(exit_code=-9, silent_for=60.2), "it gave no answer for 60 s and was ended"),
    ],
)
def test_the_end_of_a_part_is_told_with_its_code_or_signal(how: Ended, told: str) -> None:
    assert str(how) == told


@pytest.mark.broker
def test_the_broker_that_a_signal_killed_is_told_with_that_signal(tmp_path: Path) -> None:
    broker = EmbeddedBroker(port=free_port(), log_path=tmp_path / "broker.log")
    broker.start()
    assert broker.exit_code() is None
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)
    until(lambda: broker.exit_code() is not None)
    assert broker.exit_code() == -signal.SIGKILL
    broker.stop()


WAITS = "import sys, time; sys.stdin.readline() or sys.exit(); time.sleep(600)"


def spare_of(group: ProcessGroup, tmp_path: Path, code: str = WAITS) -> WithSpare:
    """``code`` ignores the argument --wait."""
    arguments = (sys.executable, "-S", "-c", code)
    return WithSpare(group, ChildCommand(name="gateway", arguments=arguments, log=tmp_path / "g.log", environment=dict(os.environ)))


def test_a_spare_takes_the_place_of_its_part(group: ProcessGroup, tmp_path: Path) -> None:
    gateway = spare_of(group, tmp_path)
    first = gateway.start()
    gateway.provide()
    gateway.provide()
    assert len(group.sessions) == 2
    second = gateway.start()
    assert (second.pid in group.sessions, second.pid != first.pid, len(group.sessions)) == (True, True, 2)
    assert gateway.start().pid not in {first.pid, second.pid}


def test_a_spare_that_dies_by_itself_is_replaced_after_a_pause(group: ProcessGroup, tmp_path: Path) -> None:
    gateway = spare_of(group, tmp_path, "import sys; sys.exit(2)")
    gateway.provide()
    (spare,) = group.sessions
    until(lambda: not members(frozenset({spare})))
    for _ in range(3):
        gateway.provide()
    assert group.sessions == {spare}


def test_users_never_wait_long_for_a_gateway_that_dies_again_and_again(group: ProcessGroup, tmp_path: Path) -> None:
    crash = "import time; time.sleep(0.3); raise SystemExit('ValueError: poisoned')"
    story = Story(replace(part(group, tmp_path, "gateway", crash), longest_pause=0.01), policy=RestartPolicy(first_pause=0.01))
    until(lambda: story.told.count(("gateway", PartState.RESTARTING)) == 3)
    assert [reason.rpartition(" in ")[2] for reason in story.reasons if "restart" in reason][:3] == 3 * ["0.01 s"]
    story.end()


def test_a_part_that_keeps_dying_ends_everything_with_its_last_error(group: ProcessGroup, tmp_path: Path) -> None:
    crash = "import sys, time; time.sleep(0.3); print('harmless'); sys.exit('ValueError: no such topic')"
    windower = replace(part(group, tmp_path, "windower", crash, ready=lambda: "not yet"), restarts_before_ready=9)
    story = Story(
        part(group, tmp_path, "gateway", SLEEPS, tier=StartTier.FRONT),
        windower,
        policy=RestartPolicy(deaths=3, first_pause=0.01),
    )
    story.join()
    assert "it died 3 times" in str(story.error)
    assert "ValueError: no such topic" in str(story.error)
    assert ("gateway", PartState.ENDED) in story.told


@pytest.mark.parametrize("end", ["print('ValueError: damaged'); raise SystemExit(1)", "print('ValueError: damaged'); raise SystemExit(2)"])
def test_a_part_that_others_do_not_need_ends_nothing_when_it_cannot_start(group: ProcessGroup, tmp_path: Path, end: str) -> None:
    gateway = part(group, tmp_path, "gateway", SLEEPS, tier=StartTier.FRONT)
    host = replace(part(group, tmp_path, "host", end, ready=lambda: "not yet"), restarts_before_ready=inf)
    story = Story(gateway, host, policy=RestartPolicy(deaths=2, first_pause=0.01, longest_pause_before_ready=0.05))
    until(lambda: story.told.count(("host", PartState.RESTARTING)) == 6)
    assert ("gateway", PartState.ENDED) not in story.told
    told = [reason for reason in story.reasons if "restart" in reason]
    assert all(reason.startswith("it ended before it was ready (") and reason.endswith(": ValueError: damaged") for reason in told)
    assert [reason.partition(" in ")[2].partition(" s")[0] for reason in told[:5]] == ["0.01", "0.02", "0.04", "0.05", "0.05"]
    story.end()
    assert story.error is None


def test_a_part_that_others_do_not_need_may_take_long_to_start(group: ProcessGroup, tmp_path: Path) -> None:
    """It is told after its time, and becomes ready all the same."""
    reasons: list[str | None] = ["no database"]
    slow = part(group, tmp_path, "host", SLEEPS, ready=lambda: reasons[0])
    story = Story(replace(slow, start_seconds=0.1, restarts_before_ready=inf))
    until(lambda: ("host", PartState.NOT_READY) in story.told)
    assert story.reasons[-1] == "no database"
    reasons[0] = None
    until(lambda: ("host", PartState.READY) in story.told)
    story.end()
    assert (story.error, story.told.count(("host", PartState.STARTING))) == (None, 1)


def test_after_one_complete_start_only_what_users_need_ends_all_when_it_cannot_start(tmp_path: Path, group: ProcessGroup) -> None:
    settings = Settings(data_dir=tmp_path, gateway=GatewaySettings(processes=2))
    given_up = {
        before: [
            one.name
            for one in parts(settings, config=None, machine=read_machine(), group=group, worked_before=before)
            if not isinf(one.restarts_before_ready)
        ]
        for before in (False, True)
    }
    assert given_up[True] == ["broker", "gateway"]
    assert given_up[False] == ["broker", "gateway", "gateway-2", "api", "traffic_windower", "correction_desk", "host"]
    prepare(settings)
    assert not up_command._was_ready_before(settings)
    LedgerJournal(open_ledger(settings.ledger_url)).append(up_command._ready(settings))
    assert up_command._was_ready_before(settings)


LIVES = """
import sys, time
from pathlib import Path
from services.cli.up import command
command.SIGN_SECONDS = 0.1
(Path(sys.argv[1]) / "up.pid").touch()
life = command.SignOfLife(Path(sys.argv[1]))
while True:
    life.look()
    time.sleep(0.05)
"""


def test_a_stopped_supervisor_is_told_by_the_doctor_and_to_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SILENT_SECONDS", 2.0)
    settings = Settings(data_dir=tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(DEADLINE)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        with subprocess.Popen([sys.executable, "-c", LIVES, str(tmp_path)], env=environment) as lives:
            try:
                (tmp_path / "up.json").write_text(json.dumps({"pid": lives.pid, "parts": {}}))
                assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]

                def told() -> CheckLevel:
                    (found,) = doctor._ports(settings)
                    stopped = f"`flywheel up` (process {lives.pid}) has given no sign for" in found.sentence
                    assert stopped == (f"kill -CONT {lives.pid}" in found.remedy) == (found.finding is CheckLevel.WRONG)
                    return found.finding

                assert told() is CheckLevel.OK
                os.kill(lives.pid, signal.SIGSTOP)
                until(lambda: told() is CheckLevel.WRONG)
                os.kill(lives.pid, signal.SIGCONT)
                until(lambda: told() is CheckLevel.OK)
            finally:
                lives.kill()


def test_a_part_that_refuses_its_settings_is_not_started_again(group: ProcessGroup, tmp_path: Path) -> None:
    refusing = part(group, tmp_path, "api", "import sys; print('http: unknown key'); sys.exit(2)", ready=lambda: "not yet")
    story = Story(refusing)
    story.join()
    assert "it refused to start" in str(story.error)
    assert story.told.count(("api", PartState.STARTING)) == 1


def test_a_part_that_never_becomes_ready_is_given_up_with_its_reason(group: ProcessGroup, tmp_path: Path) -> None:
    slow = replace(part(group, tmp_path, "vllm", SLEEPS, ready=lambda: "it loads"), start_seconds=0.2)
    story = Story(slow)
    story.join()
    assert "not ready after 0.2 s: it loads" in str(story.error)


def test_a_child_that_ignores_sigterm_is_killed_with_its_own_children(group: ProcessGroup, tmp_path: Path) -> None:
    stubborn = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork(); print('deaf', flush=True); time.sleep(600)"
    )
    child = group.start(
        ChildCommand(name="x", arguments=(sys.executable, "-S", "-c", stubborn), log=tmp_path / "x.log", environment=dict(os.environ))
    )
    until(lambda: (tmp_path / "x.log").read_text().count("deaf") == 2)
    assert child.end(seconds=0.2) is False
    until(lambda: members(frozenset({child.pid})) == [])  # the kernel takes its moment with the grandchild


def test_killing_the_parent_leaves_no_child_not_even_one_in_a_session_of_its_own(tmp_path: Path) -> None:
    grandchild = "import os, time; os.fork() or os.setsid(); time.sleep(600)"
    parent = f"""
import os, sys, time
from pathlib import Path
from services.process.child_process import ChildCommand, ProcessGroup
group = ProcessGroup(mark={tmp_path.name!r})
for name in "ab":
    group.start(ChildCommand(name=name, arguments=(sys.executable, "-S", "-c", {grandchild!r}), log=Path({str(tmp_path)!r}) / name,
                             environment=dict(os.environ)))
print("started", flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        until(lambda: len(members(frozenset(), mark=tmp_path.name)) == 4)
        process.kill()
        process.wait()
    until(lambda: not members(frozenset(), mark=tmp_path.name))


def test_the_last_line_that_names_an_error_is_shown_rather_than_the_last_line(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    log.write_text("RuntimeError: no memory\nWARNING 11-22 this can cause fd limit errors like OSError: too many\nbye\n\n")
    assert last_error(log) == "RuntimeError: no memory"
    log.write_text("start\nbye\n")
    assert last_error(log) == "bye"
    log.write_text("")
    assert last_error(log) == "it wrote nothing"
    assert "no log" in last_error(tmp_path / "none")


def test_pauses_between_restarts_grow_and_old_deaths_are_forgotten() -> None:
    def pause(deaths: list[float], *, was_ready: bool = True, lived: float = 1.0) -> float | None:
        how, policy = Ended(exit_code=-9), RestartPolicy()
        return after_death(deaths=deaths, lived=lived, was_ready=was_ready, restarts_before_ready=9, how=how, policy=policy).pause

    assert [pause([0.0]), pause([0.0, 1.0]), pause([0.0, 1.0, 2.0])] == [0.5, 1.0, 2.0]
    assert pause([0.0, 1.0, 2.0, 3.0, 4.0]) == 8.0
    assert pause([0.0, 1.0, 2.0, 3.0, 4.0], was_ready=False) is None
    assert pause([0.0, 1.0, 2.0, 3.0, 100.0]) == 0.5
    assert pause([0.0, 10.0, 20.0], lived=9.0) == 0.0  # no pause for users to wait through
    assert pause([0.0, 10.0, 20.0], lived=9.0, was_ready=False) == 2.0


def test_a_full_disk_ends_no_part_and_not_the_supervisor(group: ProcessGroup, tmp_path: Path) -> None:
    """Status page and logs stand on a real file system that is full; a part that dies meanwhile is started again."""
    with small_file_system(tmp_path / "disk", mebibytes=2) as disk:
        page = up_command._Page(disk / "up.json")
        stop, ready = threading.Event(), threading.Event()
        watching = Supervisor(
            [part(group, disk / "logs", "recorder", SLEEPS), part(group, disk / "logs", "desk", SLEEPS)],
            report=lambda watched: page.write(watching.watched),
            stop=stop,
            policy=RestartPolicy(first_pause=0.1),
        )

        def run() -> None:
            watching.run(all_ready=lambda _: ready.set(), each_look=lambda: page.write_again(watching.watched))

        thread = threading.Thread(target=run)
        thread.start()
        assert ready.wait(DEADLINE)
        fill(disk / "filler")
        (disk / "logs" / "desk.log").unlink()  # its new log needs room that there is not
        fill(disk / "filler")
        first = {one.part.name: one.running.pid for one in watching.watched if one.running}
        for pid in first.values():
            os.kill(pid, signal.SIGKILL)

        def started_again() -> bool:
            return all(one.running is not None and one.running.pid != first[one.part.name] for one in watching.watched)

        until(lambda: started_again() and all(one.state is PartState.READY for one in watching.watched))
        (disk / "filler").unlink()

        def page_is_right() -> bool:
            parts = json.loads((disk / "up.json").read_text())["parts"]
            return all(parts[one.part.name]["pid"] == one.running.pid for one in watching.watched if one.running)

        until(page_is_right)
        assert thread.is_alive()
        stop.set()
        thread.join()


def test_a_part_that_cannot_be_started_again_at_once_is_tried_again(group: ProcessGroup, tmp_path: Path) -> None:
    """The first start works, the second is refused, the third works."""
    starts: list[int] = []
    real = part(group, tmp_path, "recorder", SLEEPS)

    def start() -> object:
        starts.append(1)
        if len(starts) == 2:
            raise CannotRun("cannot be started: no memory", where="recorder", remedy="Wait.")
        return real.start()

    story = Story(replace(real, start=start), policy=RestartPolicy(first_pause=0.1, longest_pause=0.1))  # type: ignore[arg-type]
    assert story.ready.wait(DEADLINE)
    (watched,) = story.supervisor.watched
    assert watched.running is not None
    os.kill(watched.running.pid, signal.SIGKILL)
    until(lambda: len(starts) == 3 and watched.state is PartState.READY)
    assert any("cannot be started: no memory" in reason for reason in story.reasons)
    story.stop.set()
    story._thread.join()
