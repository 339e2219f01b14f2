"""``python -m services.cli.settings_page > deploy/docs/configuration.md``: every key of flywheel.yaml, from the settings themselves.

A test holds the page to this.
"""

import inspect
import re
import sys
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from services.settings import Settings

HEAD = """# Configuration

One file, `flywheel.yaml`, named with `--config` or `$FLYWHEEL_CONFIG`, else the one in the working directory. Each key can be set from the
environment too, which wins: `FLYWHEEL__HTTP__API_PORT=8501`. Unknown keys, wrong types and values that do not fit together (one port for
two processes, an axis that no gate has) are refused at start with path, value and remedy; `flywheel check-config` does only that. Secrets
stand in files (`*_file`) or as a SHA-256, never in the configuration.

A section per workload stands under `workloads.<name>`. In a name, `_seconds`, `_minutes` and `_hours` are the unit, `_share` is between 0
and 1, other whole numbers are counts. `deploy/demo/flywheel.yaml` is a complete example with a reason for every value.
"""


def page() -> str:
    """Markdown: one table a section."""
    return HEAD + "".join(_section(model, path) for path, model in _sections(Settings, ""))


def _sections(model: type[BaseModel], path: str) -> list[tuple[str, type[BaseModel]]]:
    found: list[tuple[str, type[BaseModel]]] = [(path, model)]
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is not None:
            key = (
                f"{name}.<name>" if get_origin(field.annotation) is dict else f"{name}[]" if get_origin(field.annotation) is tuple else name
            )
            found += _sections(inner, f"{path}{key}.")
    return found


def _section(model: type[BaseModel], path: str) -> str:
    meanings = _meanings(model)
    rows = [
        f"| `{name}` | {_kind(field.annotation)} | {_default(field)} | {meanings.get(name, '')} |\n"
        for name, field in model.model_fields.items()
        if _model_in(field.annotation) is None
    ]
    if not rows:
        return ""
    title = path.rstrip(".") or "top level"
    said = (model.__doc__ or "").strip()
    return f"\n## `{title}`\n\n{said}\n\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n{''.join(rows)}"


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """The comment beside a key, or on the line above it."""
    above = re.findall(r"^    # (.*)\n    (\w+):", inspect.getsource(model), re.MULTILINE)
    beside = re.findall(r"^    (\w+):.*?  # (.*)$", inspect.getsource(model), re.MULTILINE)
    return {name: text for text, name in above} | dict(beside)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is UnionType:
        return " or ".join(_kind(part) for part in get_args(annotation))
    if get_origin(annotation) is not None:
        inner = ", ".join(_kind(part) for part in get_args(annotation) if part is not ...)
        name = getattr(get_origin(annotation), "__name__", str(get_origin(annotation)))
        return f"one of {inner}" if name == "Literal" else f"list of {inner}" if name == "tuple" else f"mapping of {inner}"
    if annotation is type(None):
        return "nothing"
    return annotation.__name__ if isinstance(annotation, type) else f"`{annotation}`"


def _default(field: Any) -> str:
    return "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)}`"


if __name__ == "__main__":
    sys.stdout.write(page())
