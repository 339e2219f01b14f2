"""``flywheel reference``: the past period that traffic is compared with."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from flywheel.errors import InvalidInput
from services.cli.options import AsJson, Config, Reason, TokenFile, WorkloadName, chosen_workload, open_api
from services.cli.output import mapping_of, number_of, print_json, print_next_step, print_sentence, print_table, rows_of

commands = typer.Typer(help="The past period that traffic is compared with.", no_args_is_help=True)
Moment = Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339, e.g. 2026-05-01T08:00:00Z.")]


@commands.command("show")
def show(workload: WorkloadName = None, json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """References, newest first; the newest of a workload is in force."""
    api, _ = open_api(config, token_file)
    answer = api.get("/v1/references", workload=workload)
    if json:
        print_json(answer)
        return
    rows = rows_of(answer, "references")
    columns = ("id", "workload", "adapter", "start", "end", "maturity", "pinned_by", "rows.all")
    print_table(rows, columns, none="No reference is pinned yet, so there is no drift verdict.")
    print_next_step("flywheel alerts list --open" if rows else "flywheel reference pin --reason ...")


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
    """Pin the traffic of a period as the reference, in your name. Without a period: all traffic, at most four weeks."""
    api, settings = open_api(config, token_file)
    body = {
        "workload": chosen_workload(settings, workload),
        "reason": reason,
        "start": moment(start, "--start"),
        "end": moment(end, "--end"),
    }
    answer = api.post("/v1/references/pin", body)
    if json:
        print_json(answer)
        return
    rows = number_of(mapping_of(answer, "rows").get("all")) or 0
    print_sentence(f"{answer.get('id')}: {rows:.0f} rows from {answer.get('start')} to {answer.get('end')}, {answer.get('maturity')}.")
    if answer.get("maturity") == "pinned_early":
        print_sentence("It covers less than one whole day; alerts will say so.")
    print_next_step("flywheel alerts list --open")


def moment(text: str | None, where: str) -> str | None:
    """The time in RFC 3339; UTC when no zone is given. Raises InvalidInput."""
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput("is not a date and time", where=where, value=text, remedy="Write e.g. 2026-05-01T08:00:00Z.") from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).isoformat()
