"""Every key that can be set: its path, type, default and meaning, read from the sections themselves."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from services.settings.sections import Settings


@dataclass(frozen=True, kw_only=True)
class Key:
    """``path`` has ``<name>`` for a name in a mapping and ``[]`` for an entry of a list."""

    path: str
    type: str
    required: bool
    default: object
    meaning: str


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """(path, section), depth first; the path of the whole configuration is empty."""
    yield from _sections_in(Settings, "")


def keys_of(section: type[BaseModel], path: str) -> Iterator[Key]:
    """The keys of one section that hold a value and no section."""
    meanings = _meanings(section)
    for name, field in section.model_fields.items():
        if inner_section(field.annotation)[0] is None:
            yield Key(
                path=f"{path}.{name}" if path else name,
                type=_type(field.annotation),
                required=field.is_required(),
                default=_default(field),
                meaning=meanings.get(name, ""),
            )


def inner_section(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The section that a key holds, and how the path goes on: ``.<name>`` in a mapping of sections, ``[]`` in a list."""
    section = next((kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return section, {dict: ".<name>", tuple: "[]"}.get(get_origin(annotation), "")


def _sections_in(section: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, section
    for name, field in section.model_fields.items():
        inside, more = inner_section(field.annotation)
        if inside is not None:
            yield from _sections_in(inside, f"{path}.{name}{more}" if path else f"{name}{more}")


def _meanings(section: type[BaseModel]) -> dict[str, str]:
    """The comment beside a key, or on the line above it."""
    source = inspect.getsource(section)
    above = re.findall(r"^    # (.*)\n    (\w+):", source, re.MULTILINE)
    beside = re.findall(r"^    (\w+):.*?  # (.*)$", source, re.MULTILINE)
    return {name: text for text, name in above} | dict(beside)


def _type(annotation: Any) -> str:
    if get_origin(annotation) is UnionType:
        return " or ".join(_type(part) for part in get_args(annotation))
    name = getattr(get_origin(annotation), "__name__", "")
    if name == "Annotated":
        return _type(get_args(annotation)[0])
    if name:
        inner = ", ".join(_type(part) for part in get_args(annotation) if part is not ...)
        return {"Literal": f"one of {inner}", "tuple": f"list of {inner}"}.get(name, f"mapping of {inner}")
    if annotation is type(None):
        return "nothing"
    return annotation.__name__ if isinstance(annotation, type) else f"`{annotation}`"


def _default(field: FieldInfo) -> object:
    return None if field.is_required() else field.get_default(call_default_factory=True)
