"""``flywheel check-config``: does flywheel.yaml hold, before anything starts."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from flywheel.errors import InvalidSettings
from services.cli.options import AsJson, Config
from services.cli.show import as_json, next_step, plain, said, with_config
from services.settings import Settings, load


def check_config(json: AsJson = False, config: Config = None) -> None:
    """Check flywheel.yaml; with --json also print every key that can be set."""
    keys = [{"key": key, "type": kind, "default": default} for key, kind, default in known_keys(Settings)]
    try:
        settings = load(config)
        check_files(settings)
    except InvalidSettings as error:
        if json:
            told = {"where": error.where, "value": plain(error.value), "reason": error.reason, "remedy": error.remedy}
            as_json({"valid": False, **told, "keys": keys})
            raise SystemExit(error.exit_code) from None
        raise
    if json:
        as_json({"valid": True, "workloads": sorted(settings.workloads), "keys": keys})
        return
    names = ", ".join(f"{name} ({workload.mode})" for name, workload in settings.workloads.items())
    said(f"The configuration holds. Workloads: {names or 'none yet'}.")
    next_step(with_config("flywheel doctor", config) if settings.workloads else "name a workload under workloads: in flywheel.yaml")


def check_files(settings: Settings) -> None:
    """What the settings alone cannot see: files that must exist."""
    for index, token in enumerate(settings.tokens):
        if token.token_file is not None:
            _must_exist(token.token_file, f"tokens.{index}.token_file")
    for name, path in (("python", settings.serving.python), ("model", settings.serving.model), ("key_file", settings.serving.key_file)):
        if path is not None:
            _must_exist(path, f"serving.{name}")
    for name, workload in settings.workloads.items():
        if workload.training.general_file is not None:
            _must_exist(workload.training.general_file, f"workloads.{name}.training.general_file")
        for place, webhook in enumerate(workload.alerts.webhooks):
            if webhook.secret_file is not None:
                _must_exist(webhook.secret_file, f"workloads.{name}.alerts.webhooks.{place}.secret_file")


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, object]]:
    """(path, type, default) of every key, depth first."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        inside = [
            kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        if inside:
            yield from known_keys(inside[0], path + _joint(str(field.annotation)))
        else:
            kind = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation).replace("typing.", "")
            default = None if field.default is PydanticUndefined else field.default
            yield path, kind, default if isinstance(default, str | int | float | bool | None) else str(default)


def _joint(annotation: str) -> str:
    """How a path goes on inside a mapping, a list or a section."""
    if annotation.startswith("dict"):
        return ".<name>."
    return "[]." if annotation.startswith("tuple") else "."


def _must_exist(path: Path, where: str) -> None:
    if not path.exists():
        raise InvalidSettings("there is no such file", where=where, value=str(path), remedy="Correct the path, or make the file.")
