"""``flywheel dataset``: training sets."""

from typing import Annotated
from uuid import uuid4

import typer

from services.cli.options import AsJson, Config, Reason, TokenFile, WorkloadName, chosen_workload, in_path, open_api
from services.cli.output import print_fields, print_json, print_next_step, print_sentence, print_table, rows_of

commands = typer.Typer(help="Training sets.", no_args_is_help=True)


@commands.command("build")
def build(reason: Reason, workload: WorkloadName = None, json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """Ask for a training set of the corrections accepted so far."""
    api, settings = open_api(config, token_file)
    answer = api.post("/v1/datasets/build", {"workload": chosen_workload(settings, workload), "reason": reason}, once=uuid4().hex)
    if json:
        print_json(answer)
        return
    print_sentence(f"Asked for: {answer.get('id')} ({answer.get('state')}).")
    print_next_step("flywheel dataset show")


@commands.command("show")
def show(
    dataset: Annotated[str | None, typer.Argument(help="Its id; else all are listed.")] = None,
    workload: WorkloadName = None,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Counts, warnings and the state of the audit."""
    api, _ = open_api(config, token_file)
    answer = api.get(f"/v1/datasets/{in_path(dataset)}") if dataset else api.get("/v1/datasets", workload=workload)
    if json:
        print_json(answer)
        return
    if dataset:
        print_fields(answer)
        print_next_step("flywheel train --reason ...")
        return
    rows = rows_of(answer, "datasets")
    print_table(rows, ("id", "workload", "examples", "counts", "warnings", "audit", "cut_off"), none="No training set has been built.")
    print_next_step(f"flywheel dataset show {rows[0]['id']}" if rows else "flywheel dataset build --reason ...")
