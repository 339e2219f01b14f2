"""``flywheel corrections``: submit corrections, list what became of them."""

import json as json_text
from typing import Annotated

import typer

from flywheel.corrections.correction import CorrectionState
from services.cli.options import AsJson, Config, TokenFile, WorkloadName, open_api, read_file
from services.cli.output import Json, print_json, print_next_step, print_sentence, print_table, rows_of

commands = typer.Typer(help="Corrections of production failures.", no_args_is_help=True)


@commands.command("submit")
def submit(
    file: Annotated[str, typer.Argument(help="NDJSON, one correction a line, or a JSON list; - for standard input.")],
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Submit corrections. Safe to repeat: the same id and content counts once."""
    api, _ = open_api(config, token_file)
    answer = api.upload("/v1/corrections:batch", read_file(file))
    results: list[dict[str, Json]] = [json_text.loads(line) for line in answer.splitlines() if line]
    refused = [result for result in results if result.get("result") == "refused"]
    if json:
        print_json({"results": results})
    else:
        counts = {word: sum(result.get("result") == word for result in results) for word in ("accepted", "duplicate", "refused")}
        print_sentence(f"{counts['accepted']} accepted, {counts['duplicate']} known already, {counts['refused']} refused.")
        if refused:
            print_table(refused, ("line", "error.where", "error.reason", "error.value", "error.remedy"), none="")
        print_next_step("correct the refused lines and submit the file again" if refused else "flywheel corrections list")
    if refused:
        raise typer.Exit(1)


@commands.command("list")
def list_all(
    state: Annotated[CorrectionState | None, typer.Option("--state", help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many, newest first.")] = 50,
    workload: WorkloadName = None,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """List corrections and their states, newest first."""
    api, _ = open_api(config, token_file)
    answer = api.get("/v1/corrections", workload=workload, state=state.value if state else None, limit=limit)
    if json:
        print_json(answer)
        return
    rows = rows_of(answer, "corrections")
    print_table(rows, ("id", "workload", "source", "state", "reason", "held_out", "decided_at"), none="No corrections.")
    if rows:
        print_sentence(f"{len(rows)} of {answer.get('total')}")
    print_next_step("flywheel dataset build --reason ..." if rows else "flywheel corrections submit FILE")
