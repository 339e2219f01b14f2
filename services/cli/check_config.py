"""``flywheel check-config``: can this configuration be used? Every fault at once, before anything starts."""

from collections.abc import Iterator
from pathlib import Path

from flywheel.errors import InvalidSettings
from services.cli.options import AsJson, Config
from services.cli.output import json_scalar, print_json, print_next_step, print_sentence, with_config
from services.settings import Settings
from services.settings.faults import Fault, UnusableSettings
from services.settings.known_keys import keys_of, sections
from services.settings.loading import Configuration, located, read


def check_config(json: AsJson = False, config: Config = None) -> None:
    """Check flywheel.yaml; with --json also print every key that can be set."""
    try:
        configuration = read(config)
        faults = [*configuration.faults, *_missing_files(configuration)]
        if faults or configuration.settings is None:
            raise UnusableSettings(faults)
    except InvalidSettings as error:
        if not json:
            raise
        print_json({"valid": False, "faults": faults_as_json(error), "keys": _keys()})
        raise SystemExit(error.exit_code) from None
    _say(configuration, configuration.settings, config=config, json=json)


def _say(configuration: Configuration, settings: Settings, *, config: Path | None, json: bool) -> None:
    file = configuration.file
    if json:
        print_json({"valid": True, "file": str(file) if file else None, "workloads": sorted(settings.workloads), "keys": _keys()})
        return
    if file is None:
        print_sentence(without_a_file(settings))
        print_next_step("write a flywheel.yaml that names a workload under workloads:; deploy/demo/flywheel.yaml is an example")
        return
    names = ", ".join(f"{name} ({workload.mode})" for name, workload in settings.workloads.items())
    print_sentence(f"{file} can be used. Workloads: {names or 'none yet'}.")
    print_next_step(with_config("flywheel doctor", config) if settings.workloads else f"name a workload under workloads: in {file}")


def without_a_file(settings: Settings) -> str:
    """What runs when there is no file: the defaults, and what the environment sets."""
    http, kafka, serving = settings.http, settings.kafka, settings.serving
    broker = kafka.bootstrap or f"embedded, on port {kafka.embedded_port}"
    server = serving.url or (f"vLLM on port {serving.port}" if serving.python and serving.model else "none")
    return (
        f"There is no flywheel.yaml in {Path.cwd()}, so the defaults and FLYWHEEL__ variables hold: data in {settings.data_dir}, "
        f"gateway on {http.host}:{http.gateway_port}, api on {http.host}:{http.api_port}, broker {broker}, model server {server}, "
        f"{len(settings.tokens)} tokens, {len(settings.workloads)} workloads. `flywheel check-config --json` prints every default."
    )


def _missing_files(configuration: Configuration) -> Iterator[Fault]:
    if configuration.settings is None:
        return
    for where, path in _files(configuration.settings):
        if path is not None and not path.exists():
            remedy = "Correct the path, or make the file."
            fault = Fault(where=where, reason="there is no such file", value=str(path), remedy=remedy)
            yield located(fault, configuration.file)


def _files(settings: Settings) -> Iterator[tuple[str, Path | None]]:
    serving = settings.serving
    yield from (("serving.python", serving.python), ("serving.model", serving.model), ("serving.key_file", serving.key_file))
    yield "serving.chat_template", serving.chat_template
    yield from (("http.certificate_file", settings.http.certificate_file), ("http.key_file", settings.http.key_file))
    yield from (("kafka.ssl_cafile", settings.kafka.ssl_cafile), ("kafka.sasl_password_file", settings.kafka.sasl_password_file))
    yield from (("redaction_key_file", settings.redaction_key_file), ("sealing_key_file", settings.sealing_key_file))
    for index, token in enumerate(settings.tokens):
        yield f"tokens.{index}.token_file", token.token_file
    for name, workload in settings.workloads.items():
        yield f"workloads.{name}.training.general_file", workload.training.general_file
        for index, webhook in enumerate(workload.alerts.webhooks):
            yield f"workloads.{name}.alerts.webhooks.{index}.secret_file", webhook.secret_file


def faults_as_json(error: InvalidSettings) -> list[dict[str, object]]:
    """All faults of a configuration."""
    faults = error.faults if isinstance(error, UnusableSettings) else (error,)
    return [{"where": one.where, "value": json_scalar(one.value), "reason": one.reason, "remedy": one.remedy} for one in faults]


def _keys() -> list[dict[str, object]]:
    keys = (key for path, section in sections() for key in keys_of(section, path))
    return [{"key": key.path, "type": key.type, "default": json_scalar(key.default)} for key in keys]
