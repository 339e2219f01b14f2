"""What ``flywheel up`` starts, in which order, and what must be true before: one list of parts from the settings.

In: Settings, the configuration's path. Out: parts, each with how it starts, how it shows that it is ready, and where it logs.
Does not watch them (services/cli/up/supervisor.py).
"""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf
from pathlib import Path
from typing import Any, Protocol

from deploy import deploy_dir
from flywheel.errors import FlywheelError
from services.cli.up.spare import WithSpare
from services.integrations.kafka.embedded_broker import EmbeddedBroker
from services.integrations.kafka.topics import BrokerAway, KafkaAccess, check_broker, create_topics, topic_spec
from services.integrations.vllm import server_process as vllm_process
from services.integrations.vllm.chat_template import ServedTemplate, served_template
from services.integrations.vllm.server_process import VllmLaunch
from services.process.child_process import ChildCommand, ProcessGroup, python_path
from services.process.machine import Machine, require_disk, require_port
from services.process.process_names import HOSTED, PROCESSES, gateway_names, gateway_port, metrics_port, numbered
from services.settings import Settings
from services.settings.secrets import broker_fields, serving_key
from services.stores.database import open_ledger, path_of
from services.stores.ledger.subject_keys import open_subject_keys
from services.stores.migrate import migrate, require_ledger_of
from services.stores.schema_version import LEDGER, TRAFFIC
from services.stores.tokens import internal_key, redaction_key

FOLDERS = ("adapters", "snapshots", "reports", "spool", "routes", "keys", "logs")
DISK_GIB = 2.0  # traffic, snapshots and adapters of a long demo stay far below
PROCESS_SECONDS = 300.0  # some 20 on an idle machine; ten processes that import at once on a busy one take minutes
HANGS_AFTER_SECONDS, VLLM_HANGS_AFTER_SECONDS = 60.0, 300.0
NO_ANSWER = "it does not answer yet"
FRONT = ("api",)
"""They take what the others need, as the gateways do: first up, last down."""


GATEWAY_PAUSE_SECONDS = 0.5  # users wait for it, so also one that dies again and again is soon started again
GRACE_SECONDS = 6.0  # our processes promise to end within 5, the gateway after its drain


class StartTier(StrEnum):
    """Started in this order, ended in the mirror order."""

    BROKER = "broker"
    SERVING = "serving"
    FRONT = "front"
    WORK = "work"


class Running(Protocol):
    """One started part."""

    @property
    def pid(self) -> int: ...

    def exit_code(self) -> int | None:
        """None while it runs."""
        ...

    def ask_to_end(self) -> None: ...

    def end(self, *, seconds: float) -> bool:
        """False when it had to be killed."""
        ...


@dataclass(frozen=True, kw_only=True)
class SupervisedPart:
    """One process to start and to keep alive. ``hosted``: what runs inside it, by name, with each one's address."""

    name: str
    tier: StartTier
    start: Callable[[], Running]
    why_not_ready: Callable[[], str | None]
    log: Path
    start_seconds: float
    restarts_before_ready: float  # a first start that dies mostly dies again: of its settings, its port, its model; inf: it never ends all
    address: str
    hosted: Mapping[str, str] = field(default_factory=dict)
    grace_seconds: float = GRACE_SECONDS  # between SIGTERM and SIGKILL
    hangs_after: float = HANGS_AFTER_SECONDS  # without any answer of a part that was ready; it is ended then and started again
    longest_pause: float = inf  # before it is started again; the supervisor has a limit of its own
    provide_spare: Callable[[], None] = lambda: None  # called often while it is ready


def prepare(settings: Settings) -> None:
    """Folders, keys and both databases, before anything starts."""
    for folder in FOLDERS:
        (settings.data_dir / folder).mkdir(parents=True, exist_ok=True)
    for log in (settings.data_dir / "logs").glob("*.log"):
        log.replace(log.with_suffix(".log.1"))  # so that the last error found in a log is of this start
    (settings.data_dir / "keys").chmod(0o700)
    internal_key(settings.data_dir)
    _write_template(settings)
    require_ledger_of(path_of(settings.traffic_url), path_of(settings.ledger_url))
    migrate(path_of(settings.ledger_url), LEDGER)
    migrate(path_of(settings.traffic_url), TRAFFIC)
    keys = open_subject_keys(open_ledger(settings.ledger_url), data_dir=settings.data_dir, configured=settings.sealing_key_file)
    if settings.redaction_key_file is None:
        redaction_key(settings.data_dir, in_use=keys.in_use())


def check(settings: Settings, machine: Machine) -> None:
    """Raises CannotRun for the first thing that would stop a part from starting."""
    require_disk(settings.data_dir, gib=DISK_GIB, what="the daemon's data")
    if starts_vllm(settings):
        assert settings.serving.python is not None
        assert settings.serving.model is not None
        vllm_process.check(python=settings.serving.python.absolute(), model=settings.serving.model.absolute(), machine=machine)
        served(settings)
    if settings.kafka.bootstrap is not None:
        _check_topics(settings)
    for where, host, port, what in ports(settings):
        require_port(host, port, where=where, what=what)


def _check_topics(settings: Settings) -> None:
    """A broker that is away is waited for: users are answered meanwhile."""
    access = KafkaAccess(**broker_fields(settings))
    topics = tuple(settings.kafka.topics.model_dump().values())
    with suppress(BrokerAway):
        check_broker(access, topics=topics, session_timeout_seconds=settings.kafka.session_timeout_seconds)


def ports(settings: Settings) -> list[tuple[str, str, int, str]]:
    """(setting, host, port, what it is for) of everything that will listen."""
    host = settings.http.host
    wanted = [("http.gateway_port", host, settings.http.gateway_port, "the gateway")]
    wanted.append(("http.api_port", host, settings.http.api_port, "the api"))
    wanted += [("http.metrics_port", host, metrics_port(settings, name), f"the health of {name}") for name in PROCESSES]
    more = gateway_names(settings)[1:]
    wanted += [("http.metrics_port", host, gateway_port(settings, at), f"the health of {name}") for at, name in enumerate(more, start=2)]
    if settings.kafka.bootstrap is None:
        wanted.append(("kafka.embedded_port", "127.0.0.1", settings.kafka.embedded_port, "the embedded broker"))
    if starts_vllm(settings):
        wanted.append(("serving.port", "127.0.0.1", settings.serving.port, "vLLM"))
    return wanted


def starts_vllm(settings: Settings) -> bool:
    """Only when a program and a model are named and no URL is."""
    return settings.serving.url is None and settings.serving.python is not None and settings.serving.model is not None


def served(settings: Settings) -> ServedTemplate:
    """The chat template; needs serving.model. Raises CannotRun or InvalidInput."""
    assert settings.serving.model is not None
    return served_template(model=settings.serving.model, **settings.serving.template_choice)


def template_file(settings: Settings) -> Path:
    """Where the served template stands, for vLLM, also for one that a person starts."""
    return settings.data_dir.absolute() / "serving" / "chat_template.jinja"


def parts(
    settings: Settings, *, config: Path | None, machine: Machine, group: ProcessGroup, worked_before: bool
) -> tuple[SupervisedPart, ...]:
    """Everything to start, in order.

    ``worked_before``: every part was ready once on this data. Then a part without which users are answered ends nothing else when it fails
    at its start. On new data it does: a person is at it, and the cause is most often in the settings.
    """
    broker = [_broker(settings, group)] if settings.kafka.bootstrap is None else []
    serving = [_vllm(settings, machine, group)] if starts_vllm(settings) else []
    gateways = [_gateway(settings, number, config, group) for number in range(1, settings.gateway.processes + 1)]
    alone = [_process(settings, name, config, group) for name in PROCESSES if name not in (*HOSTED, "gateway")]
    others = (*gateways[1:], *alone, _host(settings, config, group))
    if worked_before:
        others = tuple(replace(part, restarts_before_ready=inf) for part in others)
    return (*broker, *serving, gateways[0], *others)


def _write_template(settings: Settings) -> None:
    """For vLLM. Beside one that a person starts, a template that cannot be read stops nothing here: `flywheel doctor` names it."""
    if settings.serving.model is None:
        return
    try:
        text = served(settings).template.text
    except FlywheelError:
        if starts_vllm(settings):
            raise
        return
    file = template_file(settings)
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _broker(settings: Settings, group: ProcessGroup) -> SupervisedPart:
    log = settings.data_dir / "logs" / "broker.log"

    def start() -> Running:
        broker = EmbeddedBroker(port=settings.kafka.embedded_port, log_path=log)
        broker.start()
        running = _RunningBroker(broker)
        group.hold(running.pid)
        create_topics(
            KafkaAccess(**broker_fields(settings)), names=settings.kafka.topics.model_dump(), spec=topic_spec(), replication=1
        )  # again after each restart: its memory is gone
        return running

    return SupervisedPart(
        name="broker",
        tier=StartTier.BROKER,
        start=start,
        why_not_ready=lambda: None,  # start returns when it answers
        log=log,
        start_seconds=30.0,
        restarts_before_ready=0,
        address=settings.bootstrap,
    )


def _vllm(settings: Settings, machine: Machine, group: ProcessGroup) -> SupervisedPart:
    launch = _launch(settings)
    command = vllm_process.command(launch, machine=machine, environment=os.environ)
    url = settings.serving_url
    return SupervisedPart(
        name="vllm",
        tier=StartTier.SERVING,
        start=lambda: group.start(command),
        why_not_ready=lambda: vllm_process.why_not_healthy(url),
        log=launch.log,
        start_seconds=settings.serving.start_timeout_seconds,
        restarts_before_ready=0,
        address=url,
        hangs_after=VLLM_HANGS_AFTER_SECONDS,
    )


def _gateway(settings: Settings, number: int, config: Path | None, group: ProcessGroup) -> SupervisedPart:
    """One alone has a spare; of several the others serve while one starts."""
    name = numbered("gateway", number)
    address = f"http://{settings.http.host}:{gateway_port(settings, number)}"
    command = _command(settings, name, ("services.gateway", *(("--number", str(number)) if number > 1 else ())), config)
    part = _part(settings, command, address, group)
    grace = GRACE_SECONDS + settings.gateway.drain_seconds
    part = replace(part, grace_seconds=grace, tier=StartTier.FRONT, longest_pause=GATEWAY_PAUSE_SECONDS)
    if settings.gateway.processes > 1:
        return part
    spare = WithSpare(group, command)
    return replace(part, start=spare.start, provide_spare=spare.provide)


def _process(settings: Settings, name: str, config: Path | None, group: ProcessGroup) -> SupervisedPart:
    part = _part(settings, _command(settings, name, (f"services.{name}",), config), _health_of(settings, name), group)
    return replace(part, tier=StartTier.FRONT) if name in FRONT else part


def _part(settings: Settings, command: ChildCommand, address: str, group: ProcessGroup) -> SupervisedPart:
    return SupervisedPart(
        name=command.name,
        tier=StartTier.WORK,
        start=lambda: group.start(command),
        why_not_ready=lambda: health_answer(address),
        log=command.log,
        start_seconds=_start_seconds(settings),
        restarts_before_ready=1,
        address=address,
    )


def _host(settings: Settings, config: Path | None, group: ProcessGroup) -> SupervisedPart:
    """One interpreter for all that mostly wait; ready when each of them is."""
    addresses = {name: _health_of(settings, name) for name in HOSTED}
    command = _command(settings, "host", ("services.cli.up.host", *HOSTED), config)

    def why_not_ready() -> str | None:
        reasons = ((name, health_answer(address)) for name, address in addresses.items())
        return next((f"{name}: {reason}" for name, reason in reasons if reason is not None), None)

    return SupervisedPart(
        name="host",
        tier=StartTier.WORK,
        start=lambda: group.start(command),
        why_not_ready=why_not_ready,
        log=command.log,
        start_seconds=_start_seconds(settings),
        restarts_before_ready=1,
        address=", ".join(HOSTED),
        hosted=addresses,
    )


def _command(settings: Settings, name: str, module: tuple[str, ...], config: Path | None) -> ChildCommand:
    return ChildCommand(
        name=name,
        arguments=(sys.executable, "-m", *module, *(("--config", str(config)) if config else ())),
        log=settings.data_dir / "logs" / f"{name}.log",
        environment={**python_path(os.environ, deploy_dir().parent), "PYTHONUNBUFFERED": "1"},
    )


def _health_of(settings: Settings, name: str) -> str:
    return f"http://{settings.http.host}:{metrics_port(settings, name)}"


def _start_seconds(settings: Settings) -> float:
    """The gateway is ready once there is a route, and that waits for vLLM."""
    return PROCESS_SECONDS + (settings.serving.start_timeout_seconds if starts_vllm(settings) else 0.0)


def _launch(settings: Settings) -> VllmLaunch:
    serving = settings.serving
    assert serving.python is not None
    assert serving.model is not None
    return VllmLaunch(
        python=serving.python.absolute(),
        model=serving.model.absolute(),
        port=serving.port,
        max_loras=serving.max_loras,
        max_lora_rank=serving.max_lora_rank,
        lora_modules=serving.lora_modules,
        max_model_len=serving.max_model_len,
        cpu_cache_gib=serving.cpu_cache_gib,
        cpu_threads_bind=serving.cpu_threads_bind,
        log=settings.data_dir / "logs" / "vllm.log",
        key=serving_key(settings),
        chat=vllm_process.chat_arguments(served(settings), file=template_file(settings), reasoning_parser=serving.reasoning_parser),
        extra_args=serving.extra_args,
    )


def health_answer(address: str) -> str | None:
    """None when the process is ready, else why not; ``NO_ANSWER`` when it says nothing."""
    answer = readyz(address)
    if answer is None:
        return NO_ANSWER
    return None if answer.get("ready") else str(answer.get("reason") or "it is not ready")


def readyz(address: str) -> dict[str, Any] | None:
    """What a process says of itself; None when it says nothing."""
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=1.0) as answer:  # noqa: S310  our own address
            ready, raw = True, answer.read()
    except urllib.error.HTTPError as error:
        ready, raw = False, b""
        with suppress(OSError):
            raw = error.read()
    except OSError:
        return None
    try:
        content = json.loads(raw)
    except ValueError:
        content = None
    return {"ready": ready, **(content if isinstance(content, dict) else {})}


class _RunningBroker:
    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker
        self._pid = broker.pid or 0

    @property
    def pid(self) -> int:
        return self._pid

    def exit_code(self) -> int | None:
        return self._broker.exit_code()

    def ask_to_end(self) -> None:
        """It ends at once: see ``end``."""

    def end(self, *, seconds: float) -> bool:  # noqa: ARG002  it brings its own patience
        self._broker.stop()
        return True
