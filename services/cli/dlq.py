"""``flywheel dlq``: events that could not be read."""

from typing import Annotated

import typer

from services.cli.options import AsJson, Config, TokenFile, opened
from services.cli.show import as_json, facts, next_step, rows_of, table

commands = typer.Typer(help="Dead letters.", no_args_is_help=True)


@commands.command("list")
def list_all(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000, help="How many, newest first.")] = 50,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Newest first, with the reason of each."""
    api, _ = opened(config, token_file)
    answer = api.get("/v1/dead-letters", limit=limit)
    if json:
        as_json(answer)
        return
    rows = rows_of(answer, "dead_letters")
    table(rows, ("id", "topic", "partition", "offset", "path", "reason", "at", "bytes"), none="No dead letters.")
    next_step(f"flywheel dlq show {rows[0]['id']}" if rows else "nothing to do")


@commands.command("show")
def show(
    letter: Annotated[str, typer.Argument(help="Its id.")], json: AsJson = False, config: Config = None, token_file: TokenFile = None
) -> None:
    """One, its content redacted."""
    api, _ = opened(config, token_file)
    answer = api.get(f"/v1/dead-letters/{letter}")
    if json:
        as_json(answer)
        return
    facts(answer)
    next_step("mend the producer that the topic and the reason point to")
