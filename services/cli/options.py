"""The options that commands share, and what they open."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from flywheel.errors import InvalidInput
from services.process.interrupted import ends_quietly

if TYPE_CHECKING:  # imported at first use: `flywheel --help` needs neither settings nor HTTP
    from services.cli.client import ApiClient
    from services.settings import Settings

MOST_BYTES = 256 * 1_048_576  # of a file that is sent to the api
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="PATH", help="flywheel.yaml; else $FLYWHEEL_CONFIG, else ./flywheel.yaml.")
]
TokenFile = Annotated[Path | None, typer.Option("--token-file", metavar="PATH", help="File with your token; else $FLYWHEEL_TOKEN.")]
WorkloadName = Annotated[str | None, typer.Option("--workload", "-w", help="Its name; optional when only one is configured.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; the journal keeps it with your name.")]


def open_api(config: Path | None, token_file: Path | None) -> "tuple[ApiClient, Settings]":
    """The api that the configuration names, with the caller's token, and the settings."""
    with ends_quietly():
        from services.cli.client import client, read_token
        from services.settings import load

    settings = load(config)
    return client(settings, token=read_token(token_file, os.environ.get("FLYWHEEL_TOKEN"))), settings


def chosen_workload(settings: "Settings", given: str | None) -> str:
    """The workload named, or the only one configured. Raises InvalidInput."""
    known = sorted(settings.workloads)
    if given is None and len(known) == 1:
        return known[0]
    if given is None:
        raise InvalidInput("say which workload", where="--workload", remedy=f"Configured are: {', '.join(known) or 'none'}.")
    if given not in settings.workloads:
        raise InvalidInput(
            "there is no such workload", where="--workload", value=given, remedy=f"Configured are: {', '.join(known) or 'none'}."
        )
    return given


def in_path(id: str) -> str:
    """An id that a person typed, as one part of a route's path: ``../x`` stays an id that does not exist."""
    return quote(id.encode(errors="surrogateescape"), safe="").replace(".", "%2E")


def read_file(file: str) -> bytes:
    """A file's bytes; ``-`` is standard input."""
    from services.settings.small_files import read_at_most

    if file == "-":
        return typer.get_binary_stream("stdin").read()
    try:
        return read_at_most(Path(file), MOST_BYTES)
    except OSError as error:
        raise InvalidInput(
            "cannot be read", where=file, value=error.strerror, remedy="Name an existing file, or - for standard input."
        ) from error
