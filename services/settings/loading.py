"""Reads ``flywheel.yaml`` and ``FLYWHEEL__A__B``, the environment winning, and refuses them with every fault in one go.

Called in a process's ``__main__`` only.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from flywheel.errors import InvalidSettings
from services.settings.faults import Fault, UnusableSettings, is_inside, overlap
from services.settings.messages import faults_in, unknown_key
from services.settings.renamed_keys import take_old_keys
from services.settings.sections import Settings
from services.settings.small_files import SETTINGS_BYTES, read_at_most
from services.settings.validation import faults_between, repeated

DEFAULT_CONFIG = Path("flywheel.yaml")
PREFIX = "FLYWHEEL__"
STAND_INS: Mapping[str, object] = {"alias": "-", "name": "-", "scopes": [], "url": "http://-", "margin": 0.01, "reason": "-"}
"""For required keys that are missing, so that the rest of the file can still be checked."""
ROUNDS = 10
MOST_VALUES = 100_000
DEPTH = 8  # of keys whose order in the file is kept: workloads.<name>.gate.margins.<axis>.margin has six


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """``settings`` is None when too little of the file can be used; keys with a fault have their defaults in it."""

    file: Path | None  # None: there is no file
    settings: Settings | None
    faults: tuple[Fault, ...]  # in the order of the file; each path begins with the file or the variable


def load(path: Path | None = None) -> Settings:
    """Reads ``path`` (or $FLYWHEEL_CONFIG, or ./flywheel.yaml when it exists) and the environment. Raises UnusableSettings."""
    configuration = read(path)
    if configuration.faults or configuration.settings is None:
        raise UnusableSettings(configuration.faults)
    return configuration.settings


def read(path: Path | None = None) -> Configuration:
    """Like ``load``, with the faults as a value. Raises InvalidSettings for a file that cannot be read as YAML."""
    file = config_file(path)
    content, faults = _content(file) if file is not None else ({}, [])
    variables, more = _variables()
    content = _merged(content, variables)
    order = {key: position for position, key in enumerate(_paths(content, depth=DEPTH))}
    faults += more + take_old_keys(content)
    settings = _validated(content, faults)
    faults.sort(key=lambda fault: _position(fault.where, order))
    return Configuration(file=file, settings=settings, faults=tuple(located(fault, file) for fault in faults))


def located(fault: Fault, file: Path | None) -> Fault:
    """The fault with the file in its path, or with the variable of the environment that holds the value."""
    return replace(fault, where=_origin(fault.where, file))


def config_file(path: Path | None = None) -> Path | None:
    """The file that ``load`` reads; None when none is named and there is no ./flywheel.yaml."""
    named = path or (Path(os.environ["FLYWHEEL_CONFIG"]) if os.environ.get("FLYWHEEL_CONFIG") else None)
    return named or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)


def _validated(content: dict[str, Any], faults: list[Fault]) -> Settings | None:
    """Adds to ``faults``. A key with a fault is set aside: its default replaces it, so that the rest is checked too."""
    aside = {key for fault in faults for key in (fault.where, *fault.compared_with)}
    for _ in range(ROUNDS):
        try:
            settings = Settings.model_validate(content)
        except ValidationError as error:
            found = faults_in(error)
            meant = {key for fault in found for key in fault.compared_with}  # by misspelt keys: they are not missing
            faults += [fault for fault in found if not _follows_from(fault, aside if fault.compared_with else aside | meant)]
            aside |= meant | {fault.where for fault in found}
            for detail in error.errors(include_url=False, include_input=False):
                _set_aside(content, [part for part in detail["loc"] if part != "[key]"], kind=detail["type"])
        else:
            faults += [fault for fault in faults_between(settings) if not _follows_from(fault, aside)]
            return settings
    return None


def _set_aside(content: dict[str, Any], path: Sequence[int | str], *, kind: str) -> None:
    """Removes a key or replaces it by a placeholder. An entry that must be a section becomes empty, so that later ones keep their index."""
    holder: Any = content
    for part in path[:-1]:
        try:
            holder = holder[part]
        except (KeyError, IndexError, TypeError):
            return  # it was set aside together with another value of its list
    key = path[-1]
    if kind == "missing":
        holder[key] = deepcopy(STAND_INS.get(str(key)))
    elif isinstance(holder, dict):
        holder.pop(key, None)
    elif kind in ("model_type", "model_attributes_type"):
        holder[key] = {}
    else:
        _set_aside(content, path[:-1], kind=kind)


def _follows_from(fault: Fault, aside: Iterable[str]) -> bool:
    """True when the fault may be there only because another key was set aside."""
    compared = fault.compared_with or (fault.where,)
    return any(is_inside(fault.where, key) or any(overlap(mine, key) for mine in compared) for key in aside)


def _variables() -> tuple[dict[str, Any], list[Fault]]:
    """What the environment sets, as the file would, and the variables that cannot be used."""
    content: dict[str, Any] = {}
    faults = []
    names = sorted((name for name in os.environ if name.upper().startswith(PREFIX)), key=len)  # the section before its keys
    if not names:
        return {}, []
    from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError  # a third of the settings' import

    class Environment(BaseSettings, Settings):
        """How the names of variables are read."""

        model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__")

    for name in names:
        path = name[len(PREFIX) :].lower().split("__")
        if path[0] not in Settings.model_fields:
            faults.append(replace(unknown_key(path[:1]), where=name))
            continue
        source = EnvSettingsSource(Environment)
        source.env_vars = {name.lower(): os.environ[name]}  # one at a time, so that each wrong one is named
        try:
            content = _merged(content, source())
        except SettingsError:
            reason, remedy = (
                "is not JSON, as a list or a mapping in the environment must be",
                "Write it as JSON, or set it in flywheel.yaml.",
            )
            faults.append(Fault(where=name, reason=reason, remedy=remedy, compared_with=(".".join(path),)))
    return content, faults


def _merged(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        held = merged.get(key)
        merged[key] = _merged(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return merged


def _paths(value: object, *, depth: int, prefix: str = "") -> Iterator[str]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries if depth else ():
        yield f"{prefix}{key}"
        yield from _paths(inner, depth=depth - 1, prefix=f"{prefix}{key}.")


def _position(where: str, order: Mapping[str, int]) -> int:
    """The position in the file of the key, or else of the section that contains it; -1 for neither."""
    parts = where.split(".")
    return next((order[path] for size in range(len(parts), 0, -1) if (path := ".".join(parts[:size])) in order), -1)


def _origin(where: str, file: Path | None) -> str:
    parts, variables = where.split("."), {name.upper() for name in os.environ}
    if where in os.environ:
        return where
    for size in range(len(parts), 0, -1):
        variable = PREFIX + "__".join(parts[:size]).upper()
        if variable in variables:
            return ": ".join((variable, *([".".join(parts[size:])] if parts[size:] else [])))
    return f"{file}: {where}" if file is not None else where


class _KeysOnce(yaml.SafeLoader):
    """YAML silently takes the last of two equal keys: half of a workload would be gone."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.repeated_keys: list[tuple[yaml.Mark, str]] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [(key.start_mark, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        self.repeated_keys += [(mark, key) for _, mark, key in repeated(keys)]
        return super().construct_mapping(node, deep)


def _check_size(content: object, *, file: Path) -> None:
    """Raises InvalidSettings. What an alias names is counted as often as it is named."""
    remedy = "Write it out without & and *."
    sizes: dict[int, int] = {}  # id of a mapping or list -> values in it
    entered: dict[int, str] = {}  # id -> its path

    def size(value: object, where: str) -> int:
        if not isinstance(value, dict | list):
            return 1
        if id(value) not in entered:
            entered[id(value)] = where
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            sizes[id(value)] = 1 + sum(size(one, f"{where}.{key}" if where else str(key)) for key, one in inner)
        elif id(value) not in sizes:
            raise InvalidSettings("contains itself", where=f"{file}: {entered[id(value)]}".rstrip(": "), remedy=remedy)
        return sizes[id(value)]

    if (values := size(content, "")) > MOST_VALUES:
        raise InvalidSettings(f"its aliases make it hold {values:,} values, over {MOST_VALUES:,}", where=str(file), remedy=remedy)


def _content(file: Path) -> tuple[dict[str, Any], list[Fault]]:
    """The file as a mapping, empty for an empty file, and the keys that it has twice."""
    try:
        loader = _KeysOnce(read_at_most(file, SETTINGS_BYTES).decode())
        content = loader.get_single_data()
        _check_size(content, file=file)
    except FileNotFoundError:
        raise InvalidSettings("there is no such file", where=str(file), remedy="Name an existing file with --config.") from None
    except OSError as error:
        remedy = "Name a YAML file that this user may read with --config."
        raise InvalidSettings(f"cannot be read: {error.strerror}", where=str(file), remedy=remedy) from None
    except yaml.MarkedYAMLError as error:
        at, problem = error.problem_mark, error.problem or "it cannot be read"
        remedy = "Indent with blanks: YAML takes no tabs." if "\\t" in problem else "Correct this line, or the one above it."
        line = f"line {at.line + 1}, column {at.column + 1}: " if at else ""
        raise InvalidSettings(f"is not valid YAML: {line}{problem}", where=str(file), remedy=remedy) from None
    except (UnicodeDecodeError, yaml.reader.ReaderError):
        raise InvalidSettings("is not text in UTF-8", where=str(file), remedy="Save it as a text file in UTF-8.") from None
    except RecursionError:
        raise InvalidSettings("is nested too deeply", where=str(file), remedy="Count its brackets.") from None
    except (yaml.YAMLError, ValueError, AttributeError):  # a date in the 13th month, a number of 5000 digits
        remedy = "Put dates, and numbers of many digits, in quotes."
        raise InvalidSettings("contains a value that YAML cannot read", where=str(file), remedy=remedy) from None
    if content is None:
        return {}, []
    if not isinstance(content, dict):
        remedy = "Start with a key such as workloads:"
        raise InvalidSettings("must be a mapping of keys to values", where=str(file), value=type(content).__name__, remedy=remedy)
    remedy = "Keep one of them: YAML would silently take the last."
    twice = [(f"line {mark.line + 1}, column {mark.column + 1}", key) for mark, key in loader.repeated_keys]
    return content, [Fault(where=where, reason=f"the key `{key}` is there a second time", remedy=remedy) for where, key in twice]
