"""``flywheel up``: the whole daemon on one host, in the foreground, until Ctrl-C.

In: flywheel.yaml. Out: every process ready, then a watch over them; at the end no process is left, also after kill -9.
While it runs, ``<data_dir>/up.json`` says what runs where, and ``<data_dir>`` is locked: a second one is refused.
"""

import fcntl
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from flywheel.errors import CannotRun, Refused
from flywheel.ids import WorkloadId
from flywheel.journal import DaemonReady, JournalEntry, JournalKind
from services.cli.check_config import without_a_file
from services.cli.up.supervisor import PartState, Supervisor, Watched
from services.cli.up.wiring import check, parts, prepare, starts_vllm
from services.integrations.kafka.embedded_broker import BANNER
from services.integrations.vllm.server_process import server_version
from services.process.child_process import ProcessGroup
from services.process.machine import read_machine
from services.process.start_stop import SignalOrTime, stop_event
from services.process.systemd import ServiceState, notify
from services.process.wait_for_disk import disk_trouble
from services.settings import Settings, load
from services.settings.loading import config_file
from services.stores.database import open_ledger
from services.stores.disk_reserve import DiskReserve
from services.stores.ledger.journal import LedgerJournal

SIGN_SECONDS = 15.0  # between two signs of life
RESERVE_SECONDS = 30.0  # between two looks whether the disk has room for the reserve
PREDECESSOR_SECONDS = 15.0  # what a killed `flywheel up` leaves behind is ended within this


def up(
    config: Annotated[Path | None, typer.Option("--config", help="flywheel.yaml; else $FLYWHEEL_CONFIG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Start, watch and stop everything: broker, vLLM, and every process of the daemon."""
    settings, show = load(config), _Screen(as_json=as_json)
    if config_file(config) is None:
        show.say(without_a_file(settings))
    run(settings, config=config, show=show)


def running(data_dir: Path) -> dict[str, Any] | None:
    """The content of ``up.json`` if the process that wrote it runs, else None.

    {pid, ready, parts: {name: {state, reason, pid, restarts, address, log}}}
    """
    try:
        page: dict[str, Any] = json.loads((data_dir / "up.json").read_text())
    except (OSError, ValueError):
        return None
    return page if _lives(str(page.get("pid"))) else None


def silent_seconds(data_dir: Path) -> float:
    """How long the running ``flywheel up`` has given no sign of life; 0 where it could leave none."""
    file = data_dir / "up.pid"
    try:
        return time.time() - file.stat().st_mtime if os.access(file, os.W_OK) else 0.0
    except OSError:
        return 0.0


def run(settings: Settings, *, config: Path | None, show: "_Screen") -> None:
    """Blocks until SIGTERM or Ctrl-C. Raises FlywheelError when something cannot start or dies for good."""
    stop = stop_event()
    machine = read_machine()
    named = config or (Path(os.environ["FLYWHEEL_CONFIG"]) if "FLYWHEEL_CONFIG" in os.environ else None)
    with _locked(settings.data_dir) as lock:
        check(settings, machine)
        prepare(settings)
        if settings.kafka.bootstrap is None:
            show.say(BANNER)
        if settings.serving.url is None and not starts_vllm(settings):
            show.say("no model is configured: set serving.url, or serving.python and serving.model")
        group = ProcessGroup(mark=secrets.token_hex(8), held_open=(lock,))
        upkeep, life = _Upkeep(settings, show), SignOfLife(settings.data_dir)
        try:
            page = _Page(settings.data_dir / "up.json", say=show.say)

            def report(watched: Watched) -> None:
                show.part(watched)
                page.write(supervisor.watched)

            def each_look() -> None:
                page.write_again(supervisor.watched)
                upkeep.look()
                life.look()

            def all_ready(seconds: float) -> None:
                upkeep.note(_ready(settings))
                page.everything_ready = True
                page.write(supervisor.watched)
                show.ready(seconds, settings)

            supervisor = Supervisor(
                parts(
                    settings,
                    config=named.absolute() if named else None,
                    machine=machine,
                    group=group,
                    worked_before=_was_ready_before(settings),
                ),
                report=report,
                stop=stop,
                wait=SignalOrTime().wait,
            )
            supervisor.run(all_ready=all_ready, still_waiting=show.waiting, each_look=each_look)
        finally:
            notify(ServiceState.STOPPING)
            group.release()
            with suppress(OSError):  # a disk that became read-only
                (settings.data_dir / "up.json").unlink(missing_ok=True)
        show.say("everything has ended")


class _Screen:
    """Lines for people, or JSON lines. A reader that went away is no reason to stop."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._began = time.monotonic()

    def say(self, sentence: str) -> None:
        self._print({"said": sentence}, sentence)

    def part(self, watched: Watched) -> None:
        seconds = time.monotonic() - watched.started if watched.started else 0.0
        fields: dict[str, object] = {
            "part": watched.part.name,
            "state": watched.state.value,
            "reason": watched.reason,
            "seconds": round(seconds, 1),
            "address": watched.part.address,
        }
        shown = watched.reason or (f"{seconds:.1f} s, {watched.part.address}" if watched.state is PartState.READY else "")
        self._print(fields, f"{watched.state.value:<11} {watched.part.name:<19} {shown}".rstrip())

    def waiting(self, missing: list[Watched]) -> None:
        by_reason: dict[str, list[str]] = {}
        for watched in missing:
            by_reason.setdefault(watched.reason or "it is starting", []).append(watched.part.name)
        line = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in by_reason.items())
        self._print({"waiting_for": by_reason}, f"waiting     {line}")

    def ready(self, seconds: float, settings: Settings) -> None:
        gateway = f"{settings.http.gateway_url}/v1"
        self._print(
            {"ready": True, "seconds": round(seconds, 1), "gateway": gateway},
            f"everything is ready after {seconds:.0f} s: point an OpenAI client at {gateway}; Ctrl-C ends it",
        )

    def _print(self, fields: dict[str, object], line: str) -> None:
        try:
            if self._as_json:
                print(json.dumps({"at": datetime.now(UTC).isoformat(), **fields}), flush=True)  # noqa: T201
            else:
                print(f"{time.monotonic() - self._began:6.1f} s  {line}", flush=True)  # noqa: T201
        except (BrokenPipeError, ValueError):
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for good: nobody reads any more
        except OSError:  # a file on a full disk: the next line may find room
            return


class _Upkeep:
    """What is done beside the watch over the parts: the reserve is kept, and a line of the journal waits until it can be written."""

    def __init__(self, settings: Settings, show: "_Screen") -> None:
        self._settings, self._show = settings, show
        self._reserve = DiskReserve(settings.data_dir)
        self._line: JournalEntry | None = None
        self._looked = -RESERVE_SECONDS
        self._had_reserve = True

    def note(self, line: JournalEntry) -> None:
        self._line = line
        self._write()

    def look(self) -> None:
        """Now and then."""
        if time.monotonic() - self._looked < RESERVE_SECONDS:
            return
        self._looked = time.monotonic()
        has_reserve = self._reserve.make()
        if has_reserve != self._had_reserve:
            self._show.say("there is room on the disk again" if has_reserve else "the disk is nearly full: make room")
        self._had_reserve = has_reserve
        self._write()

    def _write(self) -> None:
        if self._line is None:
            return
        try:
            LedgerJournal(open_ledger(self._settings.ledger_url)).append(self._line)
        except Exception as error:
            if disk_trouble(error) is None:
                raise
            return
        self._line = None


class SignOfLife:
    """Of ``flywheel up`` itself, which nobody starts again: the time of ``up.pid``, for `flywheel doctor`, and messages to systemd."""

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / "up.pid"
        self._gave: float | None = None

    def look(self) -> None:
        """Now and then."""
        now = time.monotonic()
        if self._gave is not None and now - self._gave < SIGN_SECONDS:
            return
        if self._gave is None:
            notify(ServiceState.READY)
        self._gave = now
        notify(ServiceState.ALIVE)
        with suppress(OSError):  # a disk that is read-only
            os.utime(self._file)


def _was_ready_before(settings: Settings) -> bool:
    """Whether an earlier run on this data saw every part ready."""
    return bool(LedgerJournal(open_ledger(settings.ledger_url)).entries(kind=JournalKind.DAEMON, subject="up", limit=1))


def _ready(settings: Settings) -> JournalEntry:
    """Which broker and which engine, for reports that have the ledger alone."""
    broker = settings.kafka.bootstrap or f"Tansu, embedded, on {settings.bootstrap} (a development broker, not Apache Kafka)"
    content = DaemonReady(broker=broker, engine=f"vLLM {server_version(settings.serving_url)} at {settings.serving_url}")
    now, nobody = datetime.now(UTC), WorkloadId("")
    why = "every part is ready"
    return JournalEntry(at=now, workload=nobody, kind=JournalKind.DAEMON, subject="up", state="ready", reason=why, evidence=asdict(content))


class _Page:
    """``up.json``: what runs, for demo, doctor and tests. Replaced whole, so that a reader never sees half of it."""

    def __init__(self, path: Path, *, say: Callable[[str], None] = lambda _: None) -> None:
        self._path, self._say, self.everything_ready = path, say, False
        self._unwritten = False

    def write_again(self, watched: tuple[Watched, ...]) -> None:
        """What could not be written, e.g. on a full disk."""
        if self._unwritten:
            self.write(watched)

    def write(self, watched: tuple[Watched, ...]) -> None:
        """What runs inside a host has an entry of its own, with the host's process and its own address."""
        parts = {}
        for one in watched:
            parts[one.part.name] = _entry(one, one.part.address)
            parts |= {name: _entry(one, address) for name, address in one.part.hosted.items()}
        content = {"pid": os.getpid(), "ready": self.everything_ready, "parts": parts}
        draft = self._path.with_suffix(".json.new")
        try:
            draft.write_text(json.dumps(content, indent=1))
            draft.replace(self._path)
        except OSError as error:  # the parts go on all the same
            if not self._unwritten:
                self._say(f"{self._path} cannot be written: {error.strerror}; it is tried again")
            self._unwritten = True
            return
        if self._unwritten:
            self._say(f"{self._path} is written again")
        self._unwritten = False


def _entry(one: Watched, address: str) -> dict[str, Any]:
    return {
        "state": one.state.value,
        "reason": one.reason,
        "pid": one.running.pid if one.running else None,
        "restarts": len(one.deaths),
        "address": address,
        "log": str(one.part.log),
    }


@contextmanager
def _locked(data_dir: Path) -> Iterator[int]:
    """Locks the folder itself: a file in it could be removed. The lock ends with the process and with the guard that ends its children."""
    pid = data_dir / "up.pid"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        pid.touch(mode=0o600)
        descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise CannotRun(
            f"cannot be written: {error.strerror}", where="data_dir", value=str(data_dir), remedy="Name a folder that this user may write."
        ) from error
    try:
        deadline = time.monotonic() + PREDECESSOR_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = pid.read_text(errors="replace").strip()[:20] if pid.exists() else ""
                if _lives(holder) or time.monotonic() > deadline:
                    raise Refused(
                        "another `flywheel up` runs on this data",
                        where=str(data_dir),
                        value=f"process {holder or 'unknown'}",
                        remedy="End it, or set another data_dir and other ports.",
                    ) from None
                time.sleep(0.1)
        with suppress(OSError):  # on a full disk: the lock counts, not the number
            pid.write_text(f"{os.getpid()}\n")
        yield descriptor
    finally:
        os.close(descriptor)


def _lives(pid: str) -> bool:
    """Whether this process runs. Text that is no number is a lock taken this very moment; one that died unmourned is dead."""
    if not pid.isdigit():
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
