"""Faults that pydantic finds in single values, in plain English: its own sentences are meant for programmers."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from flywheel.errors import shortened
from services.settings.faults import Fault
from services.settings.known_keys import inner_section, sections
from services.settings.sections import Settings

SEE = "See deploy/docs/configuration.md."

_SENTENCES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("int_parsing", "int_type", "int_from_float", "int_parsing_size"), "must be a whole number", "Write it in digits, such as 12."),
    (("float_parsing", "float_type"), "must be a number", "Write it in digits, such as 0.5."),
    (("finite_number",), "must be a finite number", "Write it in digits, such as 0.5."),
    (("bool_parsing", "bool_type"), "must be true or false", "Write true or false."),
    (("string_type",), "must be text", "Put it in quotes."),
    (("invalid_key",), "the name of a key must be text", "Put it in quotes."),
    (("string_unicode",), "contains half of a character", "Write it in UTF-8."),
    (("path_type",), "must be the path of a file or folder", "Put it in quotes."),
    (("tuple_type", "list_type"), "must be a list", "Write [one, another], or a line with a dash for each."),
    (("dict_type", "model_type", "model_attributes_type"), "must be a mapping of keys to values", "Write its keys below it, indented."),
    (("recursion_loop",), "contains itself", "Write it out without & and *."),
    (("missing",), "is required", "Add it."),
    (("literal_error",), "must be one of {expected}", "Take one of these."),
    (("greater_than",), "must be above {gt:.12g}", "Take a larger number."),
    (("greater_than_equal",), "must be {ge:.12g} or more", "Take a larger number."),
    (("less_than",), "must be below {lt:.12g}", "Take a smaller number."),
    (("less_than_equal",), "must be {le:.12g} or less", "Take a smaller number."),
)
"""(pydantic's error types, reason, remedy)."""


def faults_in(error: ValidationError) -> list[Fault]:
    """All that pydantic found."""
    return [_fault(found) for found in error.errors(include_url=False)]


def _fault(found: Mapping[str, Any]) -> Fault:
    kind, given = found["type"], found["input"]
    path = [part for part in found["loc"] if part != "[key]"]
    where = ".".join(map(str, path))
    if kind == "extra_forbidden":
        return unknown_key(path)
    reason, remedy = next(((reason, remedy) for kinds, reason, remedy in _SENTENCES if kind in kinds), ("cannot be used", "Correct it."))
    reason = reason.format(**found.get("ctx", {}))
    if kind == "missing":
        return Fault(where=where, reason=reason, remedy=f"{remedy} {SEE}")
    if given is None:
        reason += "; it is empty"
    if kind == "literal_error" and isinstance(given, str):
        meant = nearest(given, found["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", "))
        remedy = f"Did you mean `{meant}`?" if meant else remedy
    return Fault(where=where, reason=reason, value=shortened(given), remedy=f"{remedy} {SEE}")


def unknown_key(path: Sequence[object]) -> Fault:
    """Names the nearest known key, and never the value: it may be a secret in the wrong place. ``compared_with`` is the key meant."""
    *parents, key = map(str, path)
    section = _section_at(parents)
    meant = nearest(key, section.model_fields if section is not None else ())
    elsewhere = next((f"{section}.{key}".lstrip(".") for section, known in sections() if key in known.model_fields), None)
    name = elsewhere or meant  # a key of this very name is meant rather than a similar one
    asked = f"Did you mean `{name}`?" if name else "Remove it or correct its spelling."
    return Fault(
        where=".".join((*parents, key)),
        reason="unknown key",
        remedy=f"{asked} `flywheel check-config --json` prints the known keys.",
        compared_with=(".".join((*parents, meant)),) if meant else (),
    )


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The most similar known name; None when none is similar."""
    return next(iter(get_close_matches(given.lower(), list(known), n=1, cutoff=0.6)), None)


def _section_at(parents: Sequence[str]) -> type[BaseModel] | None:
    section: type[BaseModel] | None = Settings
    more = ""  # not empty: the next part is a name in a mapping, or an index in a list
    for part in parents:
        if more:
            more = ""
        elif section is None or part not in section.model_fields:
            return None
        else:
            section, more = inner_section(section.model_fields[part].annotation)
    return section
