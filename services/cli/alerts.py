"""``flywheel alerts``: alerts and their acknowledgement."""

from typing import Annotated

import typer

from services.cli.options import AsJson, Config, TokenFile, WorkloadName, in_path, open_api
from services.cli.output import mapping_of, print_fields, print_json, print_next_step, print_sentence, print_table, rows_of

commands = typer.Typer(help="Alerts and their acknowledgement.", no_args_is_help=True)
HOURS_HELP = "Hours until the acknowledgement expires. Default: alerts.acknowledgement_hours of the workload."
AlertName = Annotated[str, typer.Argument(metavar="ALERT", help="Alert id, from `flywheel alerts list`.")]


@commands.command("list")
def list_all(
    open_only: Annotated[bool, typer.Option("--open", help="List only alerts that are not resolved.")] = False,
    workload: WorkloadName = None,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """List alerts, newest first."""
    api, _ = open_api(config, token_file)
    answer = api.get("/v1/alerts", workload=workload, open=open_only)
    if json:
        print_json(answer)
        return
    rows = rows_of(answer, "alerts")
    print_table(rows, ("id", "workload", "severity", "state", "summary", "started_at", "acknowledgement.by"), none="No alerts.")
    firing = next((row for row in rows if row.get("state") == "firing"), None)
    print_next_step(f"flywheel alerts show {firing['id']}" if firing else "nothing to do")


@commands.command("show")
def show(alert: AlertName, json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """Show an alert, its evidence and the first action to take."""
    api, _ = open_api(config, token_file)
    answer = api.get(f"/v1/alerts/{in_path(alert)}")
    if json:
        print_json(answer)
        return
    print_fields(answer)
    print_next_step(f"{answer.get('first_action')} (flywheel alerts ack {alert}; runbook: {answer.get('runbook')})")


@commands.command("ack")
def acknowledge(
    alert: AlertName,
    note: Annotated[str, typer.Option("--note", help="Note to store with the acknowledgement.")] = "",
    hours: Annotated[float | None, typer.Option("--hours", min=0.01, max=336, help=HOURS_HELP)] = None,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Acknowledge an alert. The person is the owner of the token."""
    api, _ = open_api(config, token_file)
    answer = api.post(f"/v1/alerts/{in_path(alert)}/ack", {"note": note, **({"hours": hours} if hours is not None else {})})
    if json:
        print_json(answer)
        return
    acknowledgement = mapping_of(answer, "acknowledgement")
    print_sentence(f"{alert} is acknowledged by {acknowledgement.get('by')} until {acknowledgement.get('until')}.")
    print_next_step(str(answer.get("first_action")))
