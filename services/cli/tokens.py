"""``flywheel token``: tokens that are made and revoked while the daemon runs."""

from typing import Annotated

import typer

from services.cli.options import AsJson, Config, Reason, TokenFile, in_path, open_api
from services.cli.output import print_fields, print_json, print_next_step, print_sentence, print_table, rows_of

commands = typer.Typer(help="Tokens: made, listed and revoked while the daemon runs.", no_args_is_help=True)


@commands.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Of the person or program; the journal shows it.")],
    scope: Annotated[list[str], typer.Option("--scope", "-s", help="What it may do; may be given several times.")],
    workload: Annotated[
        list[str] | None, typer.Option("--workload", "-w", help="What it is for; may be given several times; else all workloads.")
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=3_650, help="After so many it expires.")] = 90,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Make a token and show it, once. Your own token needs the scope admin."""
    api, _ = open_api(config, token_file)
    answer = api.post("/v1/tokens", {"name": name, "scopes": scope, "workloads": workload or ["*"], "days": days})
    if json:
        print_json(answer)
        return
    print_fields(answer)
    print_next_step("keep the token now: it is not shown again")


@commands.command("list")
def list_all(json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """List tokens that were made here, without the tokens themselves. Those of flywheel.yaml are in that file."""
    api, _ = open_api(config, token_file)
    answer = api.get("/v1/tokens")
    if json:
        print_json(answer)
        return
    columns = ("name", "state", "scopes", "workloads", "expires_at", "created_by", "created_at")
    print_table(rows_of(answer, "tokens"), columns, none="No tokens but those of flywheel.yaml.")
    print_next_step("nothing to do")


@commands.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="Its name, from `flywheel token list`.")],
    reason: Reason,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Revoke a token, at once. Its name cannot be used again. One of flywheel.yaml is removed there, with a restart."""
    api, _ = open_api(config, token_file)
    answer = api.post(f"/v1/tokens/{in_path(name)}/revoke", {"reason": reason})
    if json:
        print_json(answer)
        return
    print_sentence(f"{answer.get('name')} is {answer.get('state')}.")
    print_next_step("flywheel token list")
