"""The first thing wrong with a configuration, in a sentence for whoever wrote it."""

from pydantic import ValidationError

from flywheel.errors import InvalidSettings


def unknown(where: str) -> InvalidSettings:
    remedy = "Remove it or correct its spelling; `flywheel check-config --json` prints the known keys."
    return InvalidSettings("unknown key", where=where, remedy=remedy)  # without its value: it may be a secret in the wrong place


_SENTENCES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("int_parsing", "int_type", "int_from_float", "int_parsing_size"), "must be a whole number", "Write it in digits, such as 12."),
    (("float_parsing", "float_type"), "must be a number", "Write it in digits, such as 0.5."),
    (("finite_number",), "must be a finite number", "Write it in digits, such as 0.5."),
    (("bool_parsing", "bool_type"), "must be true or false", "Write true or false."),
    (("string_type",), "must be text", "Put it in quotes."),
    (("string_unicode",), "holds a sign that is half of a character", "Write it in UTF-8."),
    (("path_type",), "must be the path of a file or folder", "Put it in quotes."),
    (("tuple_type", "list_type"), "must be a list", "Write [one, another], or a line with a dash for each."),
    (("dict_type", "model_type", "model_attributes_type"), "must be a mapping of keys to values", "Write its keys below it, indented."),
    (("recursion_loop",), "holds itself", "Write it out without & and *."),
    (("missing",), "is required and is not there", "Add it."),
    (("literal_error",), "must be one of {expected}", "Take one of these."),
    (("greater_than",), "must be above {gt:.12g}", "Take a larger number."),
    (("greater_than_equal",), "must be {ge:.12g} or more", "Take a larger number."),
    (("less_than",), "must be below {lt:.12g}", "Take a smaller number."),
    (("less_than_equal",), "must be {le:.12g} or less", "Take a smaller number."),
    (("value_error",), "{error}", "Correct it."),
)
"""(the library's kinds, what is expected, what to do)."""


def in_our_words(error: ValidationError) -> InvalidSettings:
    """The first thing wrong. The library's own sentences speak to programmers."""
    first = error.errors(include_url=False)[0]
    kind, given = first["type"], first["input"]
    where = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if kind == "extra_forbidden":
        return unknown(where)
    see = "See deploy/docs/configuration.md."
    reason, remedy = next(((reason, remedy) for kinds, reason, remedy in _SENTENCES if kind in kinds), ("cannot be used", "Correct it."))
    reason = reason.format(**first.get("ctx", {}))
    if kind in ("missing", "value_error"):
        return InvalidSettings(reason, where=where, remedy=f"{remedy} {see}")
    if given is None:
        reason += "; nothing stands there"
    return InvalidSettings(reason, where=where, value=shown(given), remedy=f"{remedy} {see}")


def shown(value: object) -> object:
    """Never a whole section, and no number or text that fills the screen."""
    if isinstance(value, dict | list | tuple):
        return "a list" if not isinstance(value, dict) else "a mapping"
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    return value if not isinstance(value, str) or len(value) < 80 else value[:80] + "…"
