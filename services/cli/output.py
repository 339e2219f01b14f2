"""Prints answers: tables on a terminal, tabs in a pipe, JSON when asked for, and the next step.

In: JSON values of the api. Out: lines on standard output; the next step goes to standard error, so a pipe gets data only.
"""

import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from unicodedata import category

import typer

Json = object
"""A JSON value."""
CONTROL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # Unicode's categories
HARMLESS = frozenset("\t\u200c\u200d")  # the joiners belong to Indic and Persian words, and to emoji


def print_json(value: Json) -> None:
    """The api's answer as it is; characters that could steer a terminal, and halves of characters, as JSON escapes."""
    lines = json.dumps(value, indent=2, ensure_ascii=False).split("\n")
    typer.echo("\n".join(_without_control(line, lambda character: json.dumps(character)[1:-1]) for line in lines))


def escaped(text: str) -> str:
    """A users' text for a terminal: line breaks and tabs stay; characters that could steer it become escapes such as ``\\x1b``."""
    lines = (_without_control(line, lambda character: character.encode("unicode_escape").decode()) for line in text.split("\n"))
    return "\n".join(lines)


def _without_control(line: str, escape: Callable[[str], str]) -> str:
    """Control sequences move the cursor or rename the window; format characters turn the direction of text or hide some of it."""
    if line.isprintable():
        return line
    return "".join(escape(one) if category(one) in CONTROL and one not in HARMLESS else one for one in line)


def print_table(rows: Sequence[Mapping[str, Json]], columns: Sequence[str], *, none: str) -> None:
    """Prints ``none`` when there are no rows. A column ``a.b`` is the field ``b`` of ``a``."""
    if not rows:
        typer.echo(none)
        return
    cells = [[_text(_inside(row, column)) for column in columns] for row in rows]
    if not sys.stdout.isatty():
        for line in ([column.replace("_", " ") for column in columns], *cells):
            typer.echo("\t".join(line))
        return
    from rich.console import Console  # here: its import takes longer than `flywheel --help`
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column.rpartition(".")[2].replace("_", " "), overflow="fold")
    for line in cells:
        drawn.add_row(*line)
    Console().print(drawn, markup=False)


def print_fields(values: Mapping[str, Json], names: Sequence[str] | None = None) -> None:
    """One object, a line per field."""
    chosen = list(names or values)
    width = max((len(name) for name in chosen), default=0)
    for name in chosen:
        typer.echo(f"{name.replace('_', ' '):<{width}}  {_text(_inside(values, name))}")


def print_sentence(sentence: str) -> None:
    """What the command did."""
    typer.echo(sentence)


def print_next_step(sentence: str) -> None:
    """What to do next, on standard error."""
    typer.echo(f"Next: {sentence}", err=True)


def with_config(command: str, config: Path | None) -> str:
    """A command to type, with the same configuration."""
    return command if config is None else f"{command} --config {shlex.quote(str(config))}"


def json_scalar(value: object) -> Json:
    """An error's value as a JSON value."""
    return value if isinstance(value, str | int | None) or (isinstance(value, float) and isfinite(value)) else str(value)


def rows_of(answer: Mapping[str, Json], name: str) -> list[dict[str, Json]]:
    """The objects of a list in an answer."""
    value = answer.get(name)
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def mapping_of(answer: Mapping[str, Json], name: str) -> dict[str, Json]:
    """An object in an answer; empty when there is none."""
    value = answer.get(name)
    return value if isinstance(value, dict) else {}


def number_of(value: Json) -> float | None:
    """A number, or None."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _inside(row: Mapping[str, Json], path: str) -> Json:
    value: Json = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: Json) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_text(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value) or "-"
    text = str(value).replace("\n", " ").replace("\t", " ")
    if len(text) == 27 and text.endswith("Z") and text[10] == "T":
        return text[:19].replace("T", " ") + "Z"  # no microseconds on a screen
    return "".join(character for character in text if character.isprintable())  # no control sequences from users' texts
