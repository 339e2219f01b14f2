"""Checks of values that are valid by themselves: ports that clash, tokens with one name, policies that no process could start with."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flywheel.errors import InvalidInput, shortened
from flywheel.retraining.crontab import parse_crontab
from flywheel.traffic.subject import is_subject_field
from services.settings.faults import Fault, UnusableSettings
from services.settings.messages import nearest
from services.settings.policies import build_policies, retention_policy
from services.settings.sections import METRICS_PORTS, GatewaySettings, Http, Redaction, Requests, Settings, Slices, Token, Workload
from services.settings.vllm_arguments import argument_faults

ORIGIN = re.compile(r"https?://[a-z0-9.:\[\]-]+")
ADMINISTRATION = re.compile(
    r"lora|adapter|metrics|sleep|wake|reset|profile|rpc|scale|server_info|pause|resume|abort|fault|models|admin|health"
)
"""In the names of routes that no user may reach."""
Key = TypeVar("Key")
Value = TypeVar("Value")


def faults_between(settings: Settings) -> Iterator[Fault]:
    """Every fault of values that are right by themselves."""
    yield from _ports(settings)
    yield from _host(settings.http.host)
    yield from _certificate(settings.http)
    if "\0" in str(settings.data_dir):
        yield Fault(where="data_dir", reason="contains a NUL character", value=str(settings.data_dir), remedy="Name a folder.")
    if settings.serving.url is not None:
        yield from _url(settings.serving.url, "serving.url")
    yield from _gateway(settings.gateway)
    yield from argument_faults(settings.serving.extra_args, "serving.extra_args")
    yield from _redaction(settings.redaction)
    yield from _json_values(settings.serving.chat_template_kwargs, "serving.chat_template_kwargs")
    yield from _tokens(settings.tokens)
    yield from _workloads_of_tokens(settings)
    for name, workload in settings.workloads.items():
        yield from _name(name)
        yield from _workload(workload, f"workloads.{name}")
        yield from _rank(workload.training.rank, settings.serving.max_lora_rank, f"workloads.{name}.training.rank")
    yield from _retention(settings)
    aliases = ((f"workloads.{name}.alias", workload.alias) for name, workload in settings.workloads.items())
    for first, again, alias in repeated(aliases):
        reason = f"has the same value as {first}"
        yield Fault(where=again, reason=reason, value=alias, remedy="Give each its own.", compared_with=(first,))


def _ports(settings: Settings) -> Iterator[Fault]:
    """Ports that would be opened on this host, which ``flywheel up`` requires to be free."""
    http, serving = settings.http, settings.serving
    wanted = [("http.gateway_port", http.gateway_port), ("http.api_port", http.api_port)]
    if settings.kafka.bootstrap is None:
        wanted.append(("kafka.embedded_port", settings.kafka.embedded_port))
    if serving.url is None and serving.python is not None and serving.model is not None:
        wanted.append(("serving.port", serving.port))
    uses = ("serving.url", "serving.python", "serving.model", "kafka.bootstrap")
    count = METRICS_PORTS + settings.gateway.processes - 1
    metrics = range(http.metrics_port, http.metrics_port + count)
    for where, port in wanted:
        if port in metrics:
            yield Fault(
                where=where,
                reason=f"is one of the {count} ports that begin at http.metrics_port {http.metrics_port}",
                value=port,
                remedy=f"Take one outside {metrics[0]} to {metrics[-1]}, or move http.metrics_port.",
                compared_with=("http.metrics_port", "gateway.processes", *uses),
            )
    for first, again, port in repeated(wanted):
        reason = f"has the same value as {first}"
        yield Fault(where=again, reason=reason, value=port, remedy="Give each its own port.", compared_with=(first, *uses))


def _redaction(redaction: Redaction) -> Iterator[Fault]:
    where, engine = "redaction.engine", redaction.engine
    if redaction.names == "model" and engine is None:
        remedy = "Name package.module:function, or set redaction.names to known."
        yield Fault(where=where, reason="is missing", remedy=remedy, compared_with=("redaction.names",))
    elif engine is not None and redaction.names != "model":
        remedy = "Set redaction.names to model, or remove the engine."
        yield Fault(where=where, reason="is used by redaction.names model only", remedy=remedy, compared_with=("redaction.names",))


def _certificate(http: Http) -> Iterator[Fault]:
    if (http.certificate_file is None) != (http.key_file is None):
        given, other = ("certificate_file", "key_file") if http.key_file is None else ("key_file", "certificate_file")
        reason, remedy = f"is there without http.{other}", "Give both, or none."
        value = str(http.certificate_file or http.key_file)
        yield Fault(where=f"http.{given}", reason=reason, value=value, remedy=remedy, compared_with=(f"http.{other}",))


def _gateway(gateway: GatewaySettings) -> Iterator[Fault]:
    for index, origin in enumerate(gateway.cors_origins):
        if origin != "*" and not ORIGIN.fullmatch(origin):
            remedy = "Write what browsers send, e.g. https://app.example.org, or '*' for every page."
            where = f"gateway.cors_origins.{index}"
            yield Fault(where=where, reason="is not the origin of a web page", value=shortened(origin), remedy=remedy)
    for index, route in enumerate(gateway.passed_on):
        where = f"gateway.passed_on.{index}"
        if not route.isascii() or not route.replace("-", "").replace("_", "").isalnum():
            remedy = "Write the first part of a path under /v1, e.g. embeddings."
            yield Fault(where=where, reason="is not a part of a path", value=shortened(route), remedy=remedy)
        elif ADMINISTRATION.search(route.lower()):
            remedy = "Remove it; administer the model server directly."
            yield Fault(where=where, reason="is administration of the model server", value=shortened(route), remedy=remedy)
    for key, values in (("cors_origins", gateway.cors_origins), ("passed_on", gateway.passed_on)):
        for _, again, value in repeated((f"gateway.{key}.{index}", value) for index, value in enumerate(values)):
            yield Fault(where=again, reason="is there twice", value=shortened(value), remedy="Name each once.")


def _requests(requests: Requests, where: str) -> Iterator[Fault]:
    for _, again, source in repeated((f"{where}.session_from.{index}", source) for index, source in enumerate(requests.session_from)):
        yield Fault(where=again, reason="is there twice", value=source, remedy="Name each once.")
    for name in ("temperature", "max_tokens"):
        default, most = getattr(requests.defaults, name), getattr(requests.caps, name)
        if default is not None and most is not None and default > most:
            path, cap = f"{where}.defaults.{name}", f"{where}.caps.{name}"
            reason = f"is above {cap} {most}"
            yield Fault(where=path, reason=reason, value=default, remedy="Lower it, or raise the cap.", compared_with=(cap,))


def _tokens(tokens: tuple[Token, ...]) -> Iterator[Fault]:
    for index, token in enumerate(tokens):
        where = f"tokens.{index}"
        if (token.sha256 is None) == (token.token_file is None):
            reason, secrets = "must have sha256 or token_file, and not both", (f"{where}.sha256", f"{where}.token_file")
            yield Fault(where=where, reason=reason, remedy="Give one of them.", compared_with=secrets)
        if not token.name.strip():
            remedy = "Name the person or program: the journal shows it."
            yield Fault(where=f"{where}.name", reason="must not be empty", value=token.name, remedy=remedy)
        if token.sha256 is not None and not _is_hex(token.sha256.strip(), digits=64):
            remedy = "Give the 64 hex digits that `printf %s TOKEN | sha256sum` prints."
            yield Fault(where=f"{where}.sha256", reason="is not a SHA-256", remedy=remedy)
    for first, again, name in repeated((f"tokens.{index}.name", token.name) for index, token in enumerate(tokens)):
        remedy = "Give each token its own name: decisions are signed with it."
        yield Fault(where=again, reason=f"has the same value as {first}", value=name, remedy=remedy, compared_with=(first,))
    digests = [(f"tokens.{index}.sha256", token.sha256.strip().lower()) for index, token in enumerate(tokens) if token.sha256]
    files = [(f"tokens.{index}.token_file", str(token.token_file)) for index, token in enumerate(tokens) if token.token_file]
    for first, again, _ in (*repeated(digests), *repeated(files)):
        remedy = "Create a separate token for each entry: a token identifies one person."
        yield Fault(where=again, reason=f"has the same value as {first}", remedy=remedy, compared_with=(first,))


def _workloads_of_tokens(settings: Settings) -> Iterator[Fault]:
    """A token for a misspelt workload grants no access, which is noticed only when a request is refused."""
    known = sorted(settings.workloads)
    for index, token in enumerate(settings.tokens):
        for number, name in enumerate(token.workloads):
            if name != "*" and name not in settings.workloads:
                meant = nearest(name, known)
                asked = f"Did you mean `{meant}`? " if meant else ""
                remedy = f"{asked}Name a workload ({', '.join(known) or 'none is declared'}), or write '*' for all."
                yield Fault(
                    where=f"tokens.{index}.workloads.{number}",
                    reason="there is no such workload",
                    value=shortened(name),
                    remedy=remedy,
                    compared_with=(f"workloads.{name}",),
                )


def _is_hex(text: str, *, digits: int) -> bool:
    return len(text) == digits and set(text.lower()) <= set("0123456789abcdef")


def _name(name: str) -> Iterator[Fault]:
    """It is part of names of adapters, headers and folders."""
    if not name.isascii() or not name.replace("-", "").isalnum() or name == "base" or len(name) > 40:
        remedy = "Take letters from a to z, digits and dashes, at most 40, and not 'base'."
        yield Fault(where="workloads", reason="cannot be a workload's name", value=shortened(name), remedy=remedy)


def _host(host: str) -> Iterator[Fault]:
    if not host.isascii() or not host.isprintable() or not host or any(character in host for character in " /@?#"):
        remedy = "Write e.g. 127.0.0.1, or 0.0.0.0 for every address of this machine."
        yield Fault(where="http.host", reason="is not an address or a host name", value=shortened(host), remedy=remedy)


def _url(url: str, where: str) -> Iterator[Fault]:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError for an invalid port
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and " " not in url
    except ValueError:
        fits = False
    if not fits:
        reason, remedy = "is not an http or https URL", "Write e.g. https://example.org/path."
        yield Fault(where=where, reason=reason, value=shortened(url), remedy=remedy)


def _rank(rank: int, largest: int, where: str) -> Iterator[Fault]:
    """The serving engine refuses a larger one, but only after the training."""
    if rank > largest:
        remedy = "Lower it, or raise serving.max_lora_rank: no adapter of this rank could be served."
        reason = f"is above serving.max_lora_rank {largest}"
        yield Fault(where=where, reason=reason, value=rank, remedy=remedy, compared_with=("serving.max_lora_rank",))


def _workload(workload: Workload, where: str) -> Iterator[Fault]:
    if not workload.alias.strip():
        yield Fault(where=f"{where}.alias", reason="must not be empty", remedy="Name the model as clients will ask for it.")
    yield from _requests(workload.requests, f"{where}.requests")
    if not is_subject_field(workload.recording.subject):
        remedy = "Write session, client, or dim:<name of a dimension>."
        yield Fault(where=f"{where}.recording.subject", reason="is no subject", value=workload.recording.subject, remedy=remedy)
    yield from _slices(workload.slices, f"{where}.slices")
    urls = [(f"{where}.alerts.webhooks.{index}.url", webhook.url) for index, webhook in enumerate(workload.alerts.webhooks)]
    for path, url in urls:
        yield from _url(url, path)
    for first, again, url in repeated(urls):
        yield Fault(where=again, reason=f"has the same value as {first}", value=url, remedy="Name each once.", compared_with=(first,))
    yield from _crontab(workload.trigger.calendar, f"{where}.trigger.calendar")
    yield from _json_schema(workload.format.json_schema, f"{where}.format.json_schema")
    try:
        build_policies(workload, where=where)
    except UnusableSettings as error:
        yield from error.faults


def _slices(slices: Slices, where: str) -> Iterator[Fault]:
    for key, names in (("dimensions", slices.dimensions), ("protected", slices.protected)):
        for _, again, name in repeated((f"{where}.{key}.{index}", name) for index, name in enumerate(names)):
            yield Fault(where=again, reason="this name is there twice", value=name, remedy="Name each once.")
    for index, name in enumerate(slices.dimensions):
        if not name or "=" in name:
            reason, remedy = "must not be empty or contain `=`", "Rename the dimension: `=` separates it from its value."
            yield Fault(where=f"{where}.dimensions.{index}", reason=reason, value=name, remedy=remedy)
    for index, protected in enumerate(slices.protected):
        dimension, equals, value = protected.partition("=")
        if not (equals and value) or dimension not in slices.dimensions:
            yield Fault(
                where=f"{where}.protected.{index}",
                reason="is not <dimension>=<value> of a declared dimension",
                value=protected,
                remedy=f"Declare {dimension} under {where}.dimensions, or correct it.",
                compared_with=(f"{where}.dimensions",),
            )


def _crontab(line: str | None, where: str) -> Iterator[Fault]:
    if line is None:
        return
    try:
        parse_crontab(line)
    except InvalidInput as error:
        yield Fault(where=where, reason=error.reason, value=shortened(line), remedy=error.remedy)


def _json_schema(schema: Mapping[str, Any] | None, where: str) -> Iterator[Fault]:
    if schema is None:
        return
    from jsonschema import Draft202012Validator

    try:
        errors = list(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema))
    except RecursionError:
        yield Fault(where=where, reason="contains itself, or is nested too deeply", remedy="Write it out without & and *.")
        return
    for error in errors:
        path = ".".join((where, *(str(part) for part in error.absolute_path)))
        remedy = "See json-schema.org, draft 2020-12."
        yield Fault(where=path, reason=f"is not a JSON Schema: {error.message[:200]}", remedy=remedy)


def _retention(settings: Settings) -> Iterator[Fault]:
    """A content is a part of its row: one that is stated to stay longer would not."""
    for name in ("", *settings.workloads):
        policy, where = retention_policy(settings, name), f"workloads.{name}.retention" if name else "retention"
        stated = settings.workloads[name].retention if name else settings.retention
        if policy.contents > policy.rows and "contents_days" in stated.model_fields_set:
            yield Fault(
                where=f"{where}.contents_days",
                reason=f"is above {where}.rows_days {policy.rows:g}",
                value=policy.contents,
                remedy="Lower it, or keep rows longer: a content goes with its row.",
                compared_with=(f"{where}.rows_days", "retention"),
            )


def _json_values(values: Mapping[str, object], where: str) -> Iterator[Fault]:
    """YAML has values that JSON has not, such as dates."""
    for name, value in values.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            yield Fault(
                where=f"{where}.{name}", reason="cannot be written as JSON", value=shortened(str(value)), remedy="Put it in quotes."
            )


def repeated(pairs: Iterable[tuple[Key, Value]]) -> Iterator[tuple[Key, Key, Value]]:
    """(where a value is first, where it is again, the value)."""
    seen: dict[Value, Key] = {}
    for key, value in pairs:
        if value in seen:
            yield seen[value], key, value
        else:
            seen[value] = key
