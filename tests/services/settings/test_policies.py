"""A workload's policies: built by one function, and each default stated once."""

import ast
import inspect
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from flywheel.retention import RetentionPolicy
from services.settings import Settings, Workload, known_keys, sections
from services.settings.faults import UnusableSettings
from services.settings.policies import WorkloadPolicies, build_policies, retention_policy
from services.settings.sections import Limits, SamplingCaps, SamplingDefaults, WorkloadRetention
from services.settings.validation import faults_between

PLAIN = {"alias": "w"}
OTHER_VALUES = {  # where a value that is merely larger or longer does not fit the others
    "watch.slide_panes": 6,
    "watch.window_panes": 6,
    "watch.longer_panes": (36,),
    "release.canary_shares": (0.1,),
    "release.guard_budget": 0.5,
    "release.guard_alphas.format": 1e-3,
    "release.guard_alphas.errors": 1e-3,
    "release.guard_alphas.refusal": 1e-3,
    "release.guard_alphas.latency": 1e-3,
    "release.guard_alphas.protected": 1e-3,
    "release.guard_alphas.informative": 1e-3,
    "training.quantization": "none",
    "format.json_schema": {},
    "mode": "auto",
    "comparison.text.unicode": "NFC",
    "comparison.strings.unicode": "NFKC",
}
BOUND_BY_NO_POLICY = {  # read by one process, and no decision depends on them
    "alias",
    "mode",
    "capture.durability",  # by the gateway
    "capture.fsync",
    "sampling.max_tokens",
    "watch.sample_rows",
    "corrections.entity_keys",
    "training.probe_items",
    "training.general_file",
    "trigger.check_seconds",
    "trigger.calendar",
    "release.probe_items",
    "recording.subject",
    *("requests.system_prompt", "requests.session_from", "requests.without_champion"),  # the gateway's, as are the next two sections
    *(f"requests.defaults.{name}" for name in SamplingDefaults.model_fields),
    *(f"requests.caps.{name}" for name in SamplingCaps.model_fields),
    *(f"limits.{name}" for name in Limits.model_fields),
    *(f"retention.{name}" for name in WorkloadRetention.model_fields),  # of the daemon's policy, where a workload states none
}


def keys(section: type[BaseModel] = Workload, path: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
    """(path, section, name) of every key that holds a value."""
    for name, field in section.model_fields.items():
        inside = field.annotation if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel) else None
        if inside is not None:
            yield from keys(inside, f"{path}{name}.")
        elif not any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in get_args(field.annotation)):
            yield f"{path}{name}", section, name


KEYS = {path: (section, name) for path, section, name in keys()}


def workload_with(path: str, value: object) -> Workload:
    content: dict[str, Any] = dict(PLAIN)
    *parents, name = path.split(".")
    inner = content
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[name] = value
    return Workload.model_validate(content)


def another(path: str) -> object:
    section, name = KEYS[path]
    default = section.model_fields[name].default
    if path in OTHER_VALUES:
        return OTHER_VALUES[path]
    if isinstance(default, bool):
        return not default
    if isinstance(default, tuple):
        return ("tenant=a",)
    if isinstance(default, int):
        return default + 1
    return default * 0.9 if default else 0.1


def stated(value: object, path: str = "") -> dict[str, tuple[object, type]]:
    """(value, dataclass) of every field of nested policies, by path."""
    found: dict[str, tuple[object, type]] = {}
    for field in fields(value):  # type: ignore[arg-type]
        held = getattr(value, field.name)
        if is_dataclass(held):
            found |= stated(held, f"{path}{field.name}.")
        else:
            found[f"{path}{field.name}"] = held, type(value)
    return found


def filled_by(path: str) -> dict[str, type]:
    """The fields of policies that a key fills, with the policy's class."""
    before, after = stated(build_policies(workload_with("alias", "w"))), stated(build_policies(workload_with(path, another(path))))
    return {name: policy for name, (value, policy) in after.items() if value != before[name][0]}


def default_in(owner: type, name: str) -> ast.expr | None:
    """The expression after the equals sign."""
    body = ast.parse(inspect.getsource(owner)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = (line.value for line in body.body if isinstance(line, ast.AnnAssign) and ast.unparse(line.target) == name)
    expression = next(found)
    if isinstance(expression, ast.Call) and ast.unparse(expression.func) == "Field":
        return next((keyword.value for keyword in expression.keywords if keyword.arg == "default"), None)
    return expression


def states_a_value(expression: ast.expr | None) -> bool:
    """True for a number, text or list of its own; false for a policy's field, also in other units, and for nothing at all."""
    return expression is not None and any(isinstance(node, ast.Constant) and node.value != "" for node in ast.walk(expression))


@pytest.mark.parametrize("path", [path for path in KEYS if path not in BOUND_BY_NO_POLICY and path != "format.json_schema"])
def test_a_default_is_stated_once(path: str) -> None:
    section, name = KEYS[path]
    policies = filled_by(path)
    assert policies, "no policy depends on this key"
    here = states_a_value(default_in(section, name))
    there = [f"{policy.__name__}.{field}" for field, policy in policies.items() if _states_its_own(policy, field.rpartition(".")[2])]
    assert not (here and there), f"the settings state a default that {there} states too"
    assert len(there) < 2, f"{there} state the same default"


def _states_its_own(policy: type, name: str) -> bool:
    field = next(field for field in fields(policy) if field.name == name)
    return field.default is not MISSING and states_a_value(default_in(policy, name))


def test_a_default_of_the_settings_is_the_default_of_the_policy() -> None:
    built = stated(build_policies(Workload(alias="w")))
    for path, (value, policy) in built.items():
        default = next(field for field in fields(policy) if field.name == path.rpartition(".")[2]).default
        derived = path in ("rollout.guards.judges_format", "late_data.rest")  # from the format and from the pane
        assert derived or default is MISSING or value == default, path


def test_every_key_of_a_workload_reaches_a_policy_or_is_listed() -> None:
    assert set(KEYS) >= BOUND_BY_NO_POLICY
    assert {path for path in KEYS if path not in BOUND_BY_NO_POLICY and not filled_by(path)} == set()


def test_policies_are_built_by_one_function_only() -> None:
    """What check-config checks is what runs."""
    services = Path(sections.__file__).parents[1]
    built = {policy.__name__ for policy in _policy_classes()}
    for file in services.rglob("*.py"):
        if file.name == "policies.py" and file.parent.name == "settings":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in built and node.keywords:
                assert file.name == "runs.py", f"{file}: {node.func.id}(...)"  # a stored plan's policy, read back


def _policy_classes() -> list[type]:
    return [type(getattr(build_policies(Workload(alias="w")), field.name)) for field in fields(WorkloadPolicies)]


@pytest.mark.parametrize("path", KEYS)
def test_the_ends_of_every_range_build_or_are_a_fault(path: str) -> None:
    """A policy that refuses a value of its range would do so in one process only, when it starts."""
    section, name = KEYS[path]
    for value in _ends(section.model_fields[name].metadata):
        with suppress(UnusableSettings):
            build_policies(workload_with(path, value))


def _ends(limits: list[Any]) -> Iterator[float]:
    for limit in limits:
        for kind in ("ge", "le"):
            if hasattr(limit, kind):
                yield getattr(limit, kind)
        if hasattr(limit, "gt"):
            yield limit.gt * (1 + 1e-9) or 1e-300
        if hasattr(limit, "lt"):
            yield limit.lt - 1 if isinstance(limit.lt, int) and limit.lt > 1 else limit.lt * (1 - 1e-9)


def test_every_key_of_a_workload_is_read_somewhere() -> None:
    """A key without a reader has no effect, whatever a file says."""
    settings = Path(sections.__file__).parent
    code = [file for file in settings.parent.rglob("*.py") if file.parent != settings or file.name in ("policies.py", "validation.py")]
    read = {node.attr for file in code for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
    whole = ("release.guard_alphas.", "requests.defaults.", "requests.caps.", "retention.")  # sections that are read as a whole
    assert {name for path, (_, name) in KEYS.items() if name not in read and not path.startswith(whole)} == set()


def test_every_key_says_what_it_means() -> None:
    assert [key.path for path, section in known_keys.sections() for key in known_keys.keys_of(section, path) if not key.meaning] == []


def test_a_workload_keeps_as_long_as_it_states_and_else_as_the_daemon() -> None:
    own = {"alias": "b", "retention": {"rows_days": 90}}
    settings = Settings.model_validate({"retention": {"rows_days": 60, "logs_days": 5}, "workloads": {"a": PLAIN, "b": own}})
    assert [retention_policy(settings, name).rows for name in ("", "a", "b")] == [60, 60, 90]
    assert retention_policy(settings, "b").logs == 5
    assert retention_policy(Settings()) == RetentionPolicy()


def test_contents_that_are_stated_to_stay_longer_than_their_rows_are_a_fault() -> None:
    short, contradicts = {"alias": "a", "retention": {"rows_days": 7}}, {"alias": "b", "retention": {"rows_days": 7, "contents_days": 14}}
    settings = Settings.model_validate({"workloads": {"a": short, "b": contradicts, "c": {"alias": "c"}}})
    found = [fault for fault in faults_between(settings) if "contents" in fault.where]
    assert [(fault.where, fault.value) for fault in found] == [("workloads.b.retention.contents_days", 14.0)]
