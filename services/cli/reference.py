"""``flywheel reference``: what the traffic is compared with."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from flywheel.errors import InvalidInput
from services.cli.options import AsJson, Config, Reason, TokenFile, WorkloadName, opened, the_workload
from services.cli.show import as_json, inner, next_step, number, rows_of, said, table

commands = typer.Typer(help="What the traffic is compared with.", no_args_is_help=True)
Moment = Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339, e.g. 2026-05-01T08:00:00Z.")]


@commands.command("show")
def show(workload: WorkloadName = None, json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """References, newest first; the first one of a workload is in force."""
    api, _ = opened(config, token_file)
    answer = api.get("/v1/references", workload=workload)
    if json:
        as_json(answer)
        return
    rows = rows_of(answer, "references")
    columns = ("id", "workload", "adapter", "start", "end", "maturity", "pinned_by", "rows.all")
    table(rows, columns, none="No reference is pinned: drift is not judged yet.")
    next_step("flywheel alerts list --open" if rows else "flywheel reference pin --reason ...")


@commands.command("pin")
def pin(
    reason: Reason,
    start: Moment = None,
    end: Moment = None,
    workload: WorkloadName = None,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Pin the traffic of a period as the reference, by your name. Without a period: all that was recorded."""
    api, settings = opened(config, token_file)
    body = {"workload": the_workload(settings, workload), "reason": reason, "start": moment(start, "--start"), "end": moment(end, "--end")}
    answer = api.post("/v1/references/pin", body)
    if json:
        as_json(answer)
        return
    rows = number(inner(answer, "rows").get("all")) or 0
    said(f"{answer.get('id')}: {rows:.0f} rows from {answer.get('start')} to {answer.get('end')}, {answer.get('maturity')}.")
    if answer.get("maturity") == "pinned_early":
        said("It has seen less than one whole day; alerts will say so.")
    next_step("flywheel alerts list --open")


def moment(text: str | None, where: str) -> str | None:
    """Without a time zone it is UTC."""
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput("is not a date and time", where=where, value=text, remedy="Write e.g. 2026-05-01T08:00:00Z.") from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).isoformat()
