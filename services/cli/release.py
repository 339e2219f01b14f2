"""``flywheel release``: what serves, what wants to, and the way back."""

from typing import Annotated

import typer

from services.cli.client import Json
from services.cli.options import AsJson, Config, Reason, TokenFile, WorkloadName, opened, the_workload
from services.cli.show import as_json, facts, inner, next_step, rows_of, said, table

commands = typer.Typer(help="Releases, approval, rollback.", no_args_is_help=True)


@commands.command("status")
def status(workload: WorkloadName = None, json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """One page of everything: route, alerts, corrections, runs, gates, releases."""
    api, _ = opened(config, token_file)
    answer = api.get("/v1/status", workload=workload)
    if json:
        as_json(answer)
        return
    pages = rows_of(answer, "workloads")
    for page in pages:
        _page(page)
    waiting = [row for page in pages for row in rows_of(page, "releases") if row.get("state") == "gated" and not row.get("approved_by")]
    propose = any(page.get("mode") == "propose" for page in pages)
    next_step(f"flywheel release approve {waiting[0]['adapter']} --reason ..." if waiting and propose else "nothing waits for you")


def _page(page: dict[str, Json]) -> None:
    route = inner(page, "route")
    said(f"== {page.get('workload')} (alias {page.get('alias')}, mode {page.get('mode')})")
    facts(
        {
            "route": {key: route.get(key) for key in ("version", "champion", "challenger", "challenger_arm", "share")} if route else None,
            "gateways": page.get("gateways"),
            "traffic": page.get("traffic"),
            "reference": inner(page, "reference").get("id"),
            "window": inner(inner(page, "window"), "verdicts"),
            "golden": page.get("golden"),
            "corrections": inner(inner(page, "corrections"), "states"),
        }
    )
    said("open alerts")
    table(rows_of(page, "open_alerts"), ("id", "severity", "state", "summary"), none="  none")
    said("runs")
    table(rows_of(page, "runs"), ("id", "adapter", "state", "steps", "seconds", "reason"), none="  none")
    said("gates")
    table(rows_of(page, "gates"), ("id", "adapter", "verdict", "reason", "at"), none="  none")
    said("releases")
    table(rows_of(page, "releases"), ("id", "adapter", "state", "since", "reason", "actor"), none="  none")


@commands.command("approve")
def approve(
    release: Annotated[str, typer.Argument(help="The release's id, or its adapter's name.")],
    reason: Reason,
    override_gate: Annotated[
        bool, typer.Option("--override-gate", help="Past a gate that did not pass; needs the scope override.")
    ] = False,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Let a release on to shadow and canary, by your name. Shadow, canary and guards still run."""
    api, _ = opened(config, token_file)
    answer = api.post(f"/v1/releases/{release}/approve", {"override_gate": override_gate, "reason": reason})
    if json:
        as_json(answer)
        return
    said(f"{answer.get('adapter')} is {answer.get('state')}, approved by {answer.get('approved_by')}.")
    next_step("flywheel release status")


@commands.command("rollback")
def rollback(
    reason: Reason, workload: WorkloadName = None, json: AsJson = False, config: Config = None, token_file: TokenFile = None
) -> None:
    """Put back what answered before, at once."""
    _back("rollback", reason, workload, json, config, token_file)


@commands.command("detach")
def detach(
    reason: Reason, workload: WorkloadName = None, json: AsJson = False, config: Config = None, token_file: TokenFile = None
) -> None:
    """Put the base model back, at once."""
    _back("detach", reason, workload, json, config, token_file)


def _back(verb: str, reason: str, workload: str | None, json: bool, config: Config, token_file: TokenFile) -> None:
    api, settings = opened(config, token_file)
    name = the_workload(settings, workload)
    answer = api.post(f"/v1/workloads/{name}/{verb}", {"reason": reason})
    if json:
        as_json(answer)
        return
    route, gateways = inner(answer, "route"), inner(answer, "gateways")
    there = sum(bool(applied) for applied in gateways.values())
    said(f"{route.get('champion')} answers everybody on {name} (route version {route.get('version')}).")
    said(f"In force on {there} of {len(gateways)} gateways; the others read it within a second.")
    next_step("flywheel release status")
