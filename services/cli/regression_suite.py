"""``flywheel golden``: the golden set, and general and safety cases."""

import json as json_text
from typing import Annotated

import typer

from services.cli.options import AsJson, Config, TokenFile, WorkloadName, chosen_workload, open_api, read_file
from services.cli.output import mapping_of, print_fields, print_json, print_next_step, print_sentence, print_table

commands = typer.Typer(help="The golden set, and general and safety cases.", no_args_is_help=True)


@commands.command("import")
def import_cases(
    file: Annotated[str, typer.Argument(help="NDJSON, one case a line; - for standard input.")],
    workload: WorkloadName = None,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Import cases: all lines or none. Golden cases count once they are frozen."""
    api, settings = open_api(config, token_file)
    answer = json_text.loads(api.upload("/v1/golden/import", read_file(file), workload=chosen_workload(settings, workload)))
    if json:
        print_json(answer)
        return
    tiers = mapping_of(answer, "tiers")
    held = ", ".join(f"{tiers.get(tier)} {tier}" for tier in ("golden", "general", "safety"))
    print_sentence(f"Cases: {held}; {answer.get('new')} of them new.")
    print_next_step("flywheel golden freeze" if tiers.get("golden") else "flywheel golden import FILE with tier golden")


@commands.command("freeze")
def freeze(workload: WorkloadName = None, json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """Freeze the imported golden cases as a version. It carries your name and never changes."""
    api, settings = open_api(config, token_file)
    answer = api.post("/v1/golden/freeze", {"workload": chosen_workload(settings, workload)})
    if json:
        print_json(answer)
        return
    print_sentence(
        f"Version {answer.get('version')} with {answer.get('items')} cases {'is frozen' if answer.get('new') else 'was frozen before'}."
    )
    print_next_step("flywheel golden show")


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
    api, settings = open_api(config, token_file)
    answer = api.get("/v1/golden", workload=chosen_workload(settings, workload), version=version, items=items)
    if json:
        print_json(answer)
        return
    print_fields(answer, ("id", "workload", "version", "items", "slices", "frozen_by", "frozen_at"))
    cases = answer.get("cases")
    if isinstance(cases, list):
        print_table(cases, ("id", "slice", "entity", "grader.kind", "verified_by"), none="")
    print_next_step("flywheel gate run ADAPTER")
