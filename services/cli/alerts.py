"""``flywheel alerts``: what is wrong, who knows."""

from typing import Annotated

import typer

from services.cli.options import AsJson, Config, TokenFile, WorkloadName, opened
from services.cli.show import as_json, facts, inner, next_step, rows_of, said, table

commands = typer.Typer(help="Alerts and their acknowledgement.", no_args_is_help=True)
AlertName = Annotated[str, typer.Argument(metavar="ALERT", help="Its id, from `flywheel alerts list`.")]


@commands.command("list")
def list_all(
    open_only: Annotated[bool, typer.Option("--open", help="Without the resolved ones.")] = False,
    workload: WorkloadName = None,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Newest first."""
    api, _ = opened(config, token_file)
    answer = api.get("/v1/alerts", workload=workload, open=open_only)
    if json:
        as_json(answer)
        return
    rows = rows_of(answer, "alerts")
    table(rows, ("id", "workload", "severity", "state", "summary", "started_at", "acknowledgement.by"), none="No alerts.")
    firing = next((row for row in rows if row.get("state") == "firing"), None)
    next_step(f"flywheel alerts show {firing['id']}" if firing else "nothing to do")


@commands.command("show")
def show(alert: AlertName, json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """One alert with its evidence and what to do first."""
    api, _ = opened(config, token_file)
    answer = api.get(f"/v1/alerts/{alert}")
    if json:
        as_json(answer)
        return
    facts(answer)
    next_step(f"{answer.get('first_action')} (flywheel alerts ack {alert}; runbook: {answer.get('runbook')})")


@commands.command("ack")
def acknowledge(
    alert: AlertName,
    note: Annotated[str, typer.Option("--note", help="What you know or will do.")] = "",
    hours: Annotated[float | None, typer.Option("--hours", min=0.01, max=336, help="How long you take it for.")] = None,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Take an alert, by your token's name."""
    api, _ = opened(config, token_file)
    answer = api.post(f"/v1/alerts/{alert}/ack", {"note": note, **({"hours": hours} if hours is not None else {})})
    if json:
        as_json(answer)
        return
    taken = inner(answer, "acknowledgement")
    said(f"{alert} is {taken.get('by')}'s until {taken.get('until')}.")
    next_step(str(answer.get("first_action")))
