"""``flywheel dlq``: dead letters, the events that could not be read."""

from typing import Annotated

import typer

from services.cli.options import AsJson, Config, TokenFile, open_api
from services.cli.output import print_fields, print_json, print_next_step, print_table, rows_of

commands = typer.Typer(help="Dead letters: events that could not be read.", no_args_is_help=True)


@commands.command("list")
def list_all(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000, help="How many, newest first.")] = 50,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Newest first, with the reason of each."""
    api, _ = open_api(config, token_file)
    answer = api.get("/v1/dead-letters", limit=limit)
    if json:
        print_json(answer)
        return
    rows = rows_of(answer, "dead_letters")
    print_table(rows, ("id", "topic", "partition", "offset", "path", "reason", "at", "bytes"), none="No dead letters.")
    print_next_step(f"flywheel dlq show {rows[0]['id']}" if rows else "nothing to do")


@commands.command("show")
def show(
    letter: Annotated[str, typer.Argument(help="Its id.")], json: AsJson = False, config: Config = None, token_file: TokenFile = None
) -> None:
    """One dead letter, its content redacted."""
    api, _ = open_api(config, token_file)
    answer = api.get(f"/v1/dead-letters/{letter}")
    if json:
        print_json(answer)
        return
    print_fields(answer)
    print_next_step("fix the producer of this topic")
