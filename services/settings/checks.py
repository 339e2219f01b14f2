"""What no section sees by itself: ports that clash, tokens that cannot be told apart, policies that no process could start with."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TypeVar
from urllib.parse import urlsplit

from flywheel.errors import InvalidInput, InvalidSettings
from services.settings.tree import METRICS_PORTS, Settings, Token, Workload
from services.settings.words import shown

Place = TypeVar("Place")
Value = TypeVar("Value")


def check(settings: Settings) -> None:
    """What no section sees by itself. Raises InvalidSettings with the path of the first thing wrong."""
    _ports_differ(settings)
    _tokens_differ(settings.tokens)
    _is_a_host(settings.http.host)
    if "\0" in str(settings.data_dir):
        raise InvalidSettings("holds a sign that no path has", where="data_dir", value=str(settings.data_dir), remedy="Name a folder.")
    if settings.serving.url is not None:
        _is_a_url(settings.serving.url, "serving.url")
    for name, workload in settings.workloads.items():
        _is_a_name(name)
        _workload_holds(workload, f"workloads.{name}")
        _can_be_served(workload.training.rank, settings.serving.max_lora_rank, f"workloads.{name}.training.rank")
    twice = first_twice((f"workloads.{name}.alias", workload.alias) for name, workload in settings.workloads.items())
    if twice is not None:
        raise InvalidSettings("two workloads share an alias", where=twice[0], value=twice[1], remedy="Give each its own.")
    _tokens_name_workloads(settings)


def _ports_differ(settings: Settings) -> None:
    """Of what would listen on this host, which is what ``services.cli.up.wiring.ports`` asks to be free."""
    http, serving = settings.http, settings.serving
    wanted = [("http.gateway_port", http.gateway_port), ("http.api_port", http.api_port)]
    if settings.kafka.bootstrap is None:
        wanted.append(("kafka.embedded_port", settings.kafka.embedded_port))
    if serving.url is None and serving.python is not None and serving.model is not None:
        wanted.append(("serving.port", serving.port))
    row = range(http.metrics_port, http.metrics_port + METRICS_PORTS)
    for where, port in wanted:
        if port in row:
            raise InvalidSettings(
                f"lies in the row of {METRICS_PORTS} ports that begins at http.metrics_port {http.metrics_port}",
                where=where,
                value=port,
                remedy=f"Take one outside {row[0]} to {row[-1]}, or move http.metrics_port.",
            )
    if twice := first_twice(wanted):
        first = next(where for where, port in wanted if port == twice[1])
        raise InvalidSettings(f"is the port of {first} too", where=twice[0], value=twice[1], remedy="Give each its own port.")


def _tokens_differ(tokens: tuple[Token, ...]) -> None:
    for place, token in enumerate(tokens):
        if not token.name.strip():
            remedy = "Name the person or program: it stands in the journal."
            raise InvalidSettings("a token has a name", where=f"tokens.{place}.name", value=token.name, remedy=remedy)
        if token.sha256 is not None and not _is_hex(token.sha256.strip(), digits=64):
            remedy = "Give the 64 hex digits that `printf %s TOKEN | sha256sum` prints."
            raise InvalidSettings("is not a SHA-256", where=f"tokens.{place}.sha256", remedy=remedy)
    if twice := first_twice((f"tokens.{place}.name", token.name) for place, token in enumerate(tokens)):
        remedy = "Give each token its own name: decisions are signed with it."
        raise InvalidSettings("two tokens have this name", where=twice[0], value=twice[1], remedy=remedy)
    digests = ((f"tokens.{place}.sha256", token.sha256.strip().lower()) for place, token in enumerate(tokens) if token.sha256)
    files = ((f"tokens.{place}.token_file", str(token.token_file)) for place, token in enumerate(tokens) if token.token_file)
    if twice := first_twice(digests) or first_twice(files):
        remedy = "Give each token its own: otherwise nobody can say who it was."
        raise InvalidSettings("two tokens have the same secret", where=twice[0], remedy=remedy)


def _tokens_name_workloads(settings: Settings) -> None:
    """A misspelt name would be a token that opens nothing, which is seen only when somebody is turned away."""
    for place, token in enumerate(settings.tokens):
        for number, name in enumerate(token.workloads):
            if name != "*" and name not in settings.workloads:
                known = ", ".join(sorted(settings.workloads)) or "none is declared"
                remedy = f"Name a workload ({known}), or write '*' for all."
                where = f"tokens.{place}.workloads.{number}"
                raise InvalidSettings("there is no such workload", where=where, value=shown(name), remedy=remedy)


def _is_hex(text: str, *, digits: int) -> bool:
    return len(text) == digits and set(text.lower()) <= set("0123456789abcdef")


def _is_a_name(name: str) -> None:
    """It stands in names of adapters, headers and folders."""
    if not name.isascii() or not name.replace("-", "").isalnum() or name == "base" or len(name) > 40:
        remedy = "Take letters from a to z, digits and dashes, at most 40, and not 'base'."
        raise InvalidSettings("cannot be a workload's name", where="workloads", value=shown(name), remedy=remedy)


def _is_a_host(host: str) -> None:
    if not host.isascii() or not host.isprintable() or not host or any(sign in host for sign in " /@?#"):
        remedy = "Write e.g. 127.0.0.1, or 0.0.0.0 for every address of this machine."
        raise InvalidSettings("is not an address or a host name", where="http.host", value=shown(host), remedy=remedy)


def _is_a_url(url: str, where: str) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError for one that is no port
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and " " not in url
    except ValueError:
        fits = False
    if not fits:
        raise InvalidSettings("is not an http or https URL", where=where, value=shown(url), remedy="Write e.g. https://example.org/path.")


def _can_be_served(rank: int, largest: int, where: str) -> None:
    """The serving engine refuses a larger one, but only after the training."""
    if rank > largest:
        remedy = "Lower it, or raise serving.max_lora_rank: no adapter of this rank could be served."
        raise InvalidSettings(f"is above serving.max_lora_rank {largest}", where=where, value=rank, remedy=remedy)


def _workload_holds(workload: Workload, where: str) -> None:
    """What the processes would refuse when they start is refused here, by the same policies."""
    from flywheel.gate.axis_order import GatePolicy, axes_in_order  # here: numpy comes with them, and many commands need no workload
    from flywheel.rollout.guards import GuardAlphas as Alphas
    from flywheel.rollout.guards import GuardPolicy
    from flywheel.rollout.next_action import RolloutPolicy
    from flywheel.windows.assign import WindowPolicy

    if not workload.alias.strip():
        raise InvalidSettings("must not be empty", where=f"{where}.alias", remedy="Name the model as clients will ask for it.")
    for protected in workload.slices.protected:
        dimension, equals, value = protected.partition("=")
        if not (equals and value) or dimension not in workload.slices.dimensions:
            raise InvalidSettings(
                "is not <dimension>=<value> of a declared dimension",
                where=f"{where}.slices.protected",
                value=protected,
                remedy=f"Declare {dimension} under {where}.slices.dimensions, or correct it.",
            )
    for place, webhook in enumerate(workload.alerts.webhooks):
        _is_a_url(webhook.url, f"{where}.alerts.webhooks.{place}.url")
    webhooks = ((f"{where}.alerts.webhooks.{place}.url", webhook.url) for place, webhook in enumerate(workload.alerts.webhooks))
    if twice := first_twice(webhooks):
        raise InvalidSettings("two webhooks have this URL", where=twice[0], value=twice[1], remedy="Name each once.")
    _is_a_crontab(workload.trigger.calendar, f"{where}.trigger.calendar")
    _is_a_schema(workload.format.json_schema, f"{where}.format.json_schema")
    watch, gate, release, protects = workload.watch, workload.gate, workload.release, workload.slices.protected
    try:
        WindowPolicy(
            pane=timedelta(seconds=watch.pane_seconds),
            window_panes=watch.window_panes,
            slide_panes=watch.slide_panes,
            longer_panes=watch.longer_panes,
            lateness=timedelta(seconds=watch.lateness_seconds),
        )
    except InvalidInput as error:
        raise _at(f"{where}.watch", error) from None
    margins = {axis: (named.margin, named.reason) for axis, named in gate.margins.items()}
    alphas = gate.model_dump(include={"superiority_alpha", "non_inferiority_alpha"})
    try:
        axes_in_order(policy=GatePolicy(margins=margins, **alphas), protected=protects)
    except InvalidInput as error:
        raise _at(f"{where}.{error.where}", error) from None
    try:
        GuardPolicy(budget=release.guard_budget, alphas=Alphas(**release.guard_alphas.model_dump()), protected=protects)
    except InvalidInput as error:
        raise _at(f"{where}.release.guard_alphas", error) from None
    try:
        RolloutPolicy(canary_shares=release.canary_shares)
    except InvalidInput as error:
        raise _at(f"{where}.release.canary_shares", error) from None


def _at(where: str, error: InvalidInput) -> InvalidSettings:
    """A policy's refusal at the path of its key."""
    return InvalidSettings(error.reason, where=where, value=error.value, remedy=error.remedy)


def _is_a_crontab(line: str | None, where: str) -> None:
    if line is None:
        return
    from apscheduler.triggers.cron import CronTrigger  # here: it is seldom asked for

    try:
        CronTrigger.from_crontab(line, timezone="UTC")
    except (ValueError, OverflowError) as error:
        remedy = "Write minute, hour, day, month and weekday, e.g. 0 3 * * 1: Mondays at three."
        raise InvalidSettings(f"is not a crontab line: {error}", where=where, value=shown(line), remedy=remedy) from None


def _is_a_schema(schema: Mapping[str, object] | None, where: str) -> None:
    if schema is None:
        return
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        path = ".".join((where, *(str(part) for part in error.absolute_path)))
        raise InvalidSettings(f"is not a JSON Schema: {error.message}", where=path, remedy="See json-schema.org, draft 2020-12.") from None


def first_twice(pairs: Iterable[tuple[Place, Value]]) -> tuple[Place, Value] | None:
    """Where a value stands for the second time."""
    seen: set[Value] = set()
    for place, value in pairs:
        if value in seen:
            return place, value
        seen.add(value)
    return None
