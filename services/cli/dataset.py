"""``flywheel dataset``: what the next adapter learns from."""

from typing import Annotated
from uuid import uuid4

import typer

from services.cli.options import AsJson, Config, Reason, TokenFile, WorkloadName, opened, the_workload
from services.cli.show import as_json, facts, next_step, rows_of, said, table

commands = typer.Typer(help="Training sets.", no_args_is_help=True)


@commands.command("build")
def build(reason: Reason, workload: WorkloadName = None, json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """Ask for a training set of what is accepted now."""
    api, settings = opened(config, token_file)
    answer = api.post("/v1/datasets/build", {"workload": the_workload(settings, workload), "reason": reason}, once=uuid4().hex)
    if json:
        as_json(answer)
        return
    said(f"Asked for: {answer.get('id')} ({answer.get('state')}).")
    next_step("flywheel dataset show")


@commands.command("show")
def show(
    dataset: Annotated[str | None, typer.Argument(help="Its id; else all of them.")] = None,
    workload: WorkloadName = None,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Counts, warnings and the audit's state."""
    api, _ = opened(config, token_file)
    answer = api.get(f"/v1/datasets/{dataset}") if dataset else api.get("/v1/datasets", workload=workload)
    if json:
        as_json(answer)
        return
    if dataset:
        facts(answer)
        next_step("flywheel train --reason ...")
        return
    rows = rows_of(answer, "datasets")
    table(rows, ("id", "workload", "examples", "counts", "warnings", "audit", "cut_off"), none="No training set has been built.")
    next_step(f"flywheel dataset show {rows[0]['id']}" if rows else "flywheel dataset build --reason ...")
