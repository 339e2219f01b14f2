"""``flywheel release``: status, approval, rollback."""

from typing import Annotated

import typer

from services.cli.options import AsJson, Config, Reason, TokenFile, WorkloadName, chosen_workload, in_path, open_api
from services.cli.output import Json, mapping_of, print_fields, print_json, print_next_step, print_sentence, print_table, rows_of

commands = typer.Typer(help="Releases, approval, rollback.", no_args_is_help=True)


@commands.command("status")
def status(workload: WorkloadName = None, json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """The status of each workload.

    Route, traffic, reference, open alerts, corrections, runs, gates and releases, each with the newest first.
    """
    api, _ = open_api(config, token_file)
    answer = api.get("/v1/status", workload=workload)
    if json:
        print_json(answer)
        return
    pages = rows_of(answer, "workloads")
    for page in pages:
        _page(page)
    waiting = [row for page in pages for row in rows_of(page, "releases") if row.get("state") == "gated" and not row.get("approved_by")]
    propose = any(page.get("mode") == "propose" for page in pages)
    print_next_step(f"flywheel release approve {waiting[0]['adapter']} --reason ..." if waiting and propose else "nothing to do")


def _page(page: dict[str, Json]) -> None:
    route = mapping_of(page, "route")
    print_sentence(f"== {page.get('workload')} (alias {page.get('alias')}, mode {page.get('mode')})")
    print_fields(
        {
            "route": {key: route.get(key) for key in ("version", "champion", "challenger", "challenger_arm", "share")} if route else None,
            "gateways": page.get("gateways"),
            "requests": page.get("requests"),
            "traffic": page.get("traffic"),
            "reference": mapping_of(page, "reference").get("id"),
            "window": mapping_of(mapping_of(page, "window"), "verdicts"),
            "golden": page.get("golden"),
            "corrections": mapping_of(mapping_of(page, "corrections"), "states"),
        }
    )
    print_sentence("open alerts")
    print_table(rows_of(page, "open_alerts"), ("id", "severity", "state", "summary"), none="  none")
    print_sentence("runs")
    print_table(rows_of(page, "runs"), ("id", "adapter", "state", "steps", "seconds", "reason"), none="  none")
    print_sentence("gates")
    print_table(rows_of(page, "gates"), ("id", "adapter", "verdict", "reason", "at"), none="  none")
    print_sentence("releases")
    print_table(rows_of(page, "releases"), ("id", "adapter", "state", "since", "reason", "actor"), none="  none")


@commands.command("approve")
def approve(
    release: Annotated[str, typer.Argument(help="The release's id, or its adapter's name.")],
    reason: Reason,
    override_gate: Annotated[
        bool, typer.Option("--override-gate", help="Although its gate did not pass; needs the scope override.")
    ] = False,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Let a release on to shadow and canary, in your name. Shadow, canary and guards still run."""
    api, _ = open_api(config, token_file)
    answer = api.post(f"/v1/releases/{in_path(release)}/approve", {"override_gate": override_gate, "reason": reason})
    if json:
        print_json(answer)
        return
    print_sentence(f"{answer.get('adapter')} is {answer.get('state')}, approved by {answer.get('approved_by')}.")
    print_next_step("flywheel release status")


@commands.command("rollback")
def rollback(
    reason: Reason, workload: WorkloadName = None, json: AsJson = False, config: Config = None, token_file: TokenFile = None
) -> None:
    """Route all traffic to the previous adapter, at once."""
    _back("rollback", reason, workload, json, config, token_file)


@commands.command("detach")
def detach(
    reason: Reason, workload: WorkloadName = None, json: AsJson = False, config: Config = None, token_file: TokenFile = None
) -> None:
    """Route all traffic to the base model, at once."""
    _back("detach", reason, workload, json, config, token_file)


def _back(verb: str, reason: str, workload: str | None, json: bool, config: Config, token_file: TokenFile) -> None:
    api, settings = open_api(config, token_file)
    name = chosen_workload(settings, workload)
    answer = api.post(f"/v1/workloads/{in_path(name)}/{verb}", {"reason": reason})
    if json:
        print_json(answer)
        return
    route, gateways = mapping_of(answer, "route"), mapping_of(answer, "gateways")
    there = sum(bool(applied) for applied in gateways.values())
    print_sentence(f"{route.get('champion')} answers everybody on {name} (route version {route.get('version')}).")
    print_sentence(f"In force on {there} of {len(gateways)} gateways; the others read it within a second.")
    print_next_step("flywheel release status")
