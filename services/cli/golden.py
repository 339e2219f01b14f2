"""``flywheel golden``: the cases that compare versions."""

import json as json_text
from typing import Annotated

import typer

from services.cli.options import AsJson, Config, TokenFile, WorkloadName, content_of, opened, the_workload
from services.cli.show import as_json, facts, inner, next_step, said, table

commands = typer.Typer(help="The golden set, and general and safety cases.", no_args_is_help=True)


@commands.command("import")
def import_cases(
    file: Annotated[str, typer.Argument(help="NDJSON, one case a line; - for standard input.")],
    workload: WorkloadName = None,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Import cases: all lines or none. Nothing is compared with them until they are frozen."""
    api, settings = opened(config, token_file)
    answer = json_text.loads(api.upload("/v1/golden/import", content_of(file), workload=the_workload(settings, workload)))
    if json:
        as_json(answer)
        return
    tiers = inner(answer, "tiers")
    held = ", ".join(f"{tiers.get(tier)} {tier}" for tier in ("golden", "general", "safety"))
    said(f"Cases: {held}; {answer.get('new')} of them new.")
    next_step("flywheel golden freeze" if tiers.get("golden") else "flywheel golden import FILE with tier golden")


@commands.command("freeze")
def freeze(workload: WorkloadName = None, json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """Freeze the imported golden cases as the next version, by your name, for ever."""
    api, settings = opened(config, token_file)
    answer = api.post("/v1/golden/freeze", {"workload": the_workload(settings, workload)})
    if json:
        as_json(answer)
        return
    said(f"Version {answer.get('version')} with {answer.get('items')} cases {'is frozen' if answer.get('new') else 'was frozen before'}.")
    next_step("flywheel golden show")


@commands.command("show")
def show(
    version: Annotated[int | None, typer.Option("--version", min=1, help="Else the newest.")] = None,
    items: Annotated[bool, typer.Option("--items", help="With its cases.")] = False,
    workload: WorkloadName = None,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """A frozen version."""
    api, settings = opened(config, token_file)
    answer = api.get("/v1/golden", workload=the_workload(settings, workload), version=version, items=items)
    if json:
        as_json(answer)
        return
    facts(answer, ("id", "workload", "version", "items", "slices", "frozen_by", "frozen_at"))
    cases = answer.get("cases")
    if isinstance(cases, list):
        table(cases, ("id", "slice", "entity", "grader.kind", "verified_by"), none="")
    next_step("flywheel gate run ADAPTER")
