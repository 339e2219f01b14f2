"""``flywheel gate``: runs the gate, shows its verdicts."""

import time
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from flywheel.errors import CannotRun
from services.cli.options import AsJson, Config, TokenFile, WorkloadName, chosen_workload, in_path, open_api
from services.cli.output import Json, mapping_of, number_of, print_fields, print_json, print_next_step, print_sentence, print_table, rows_of

if TYPE_CHECKING:
    from services.cli.client import ApiClient

commands = typer.Typer(help="The release gate.", no_args_is_help=True)
EXIT_CODES = {"pass": 0, "refuse": 3, "cannot_tell": 4}
LOOK_EVERY_SECONDS = 1.0
NAMED_CASES = 10


@commands.command("run")
def run(
    adapter: Annotated[str, typer.Argument(help="Its name, e.g. from `flywheel release status`.")],
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the verdict; the exit code says it.")] = True,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait.")] = 1_800.0,
    workload: WorkloadName = None,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Run the gate for an adapter. Exit code: 0 pass, 3 refuse, 4 cannot tell."""
    api, settings = open_api(config, token_file)
    name = chosen_workload(settings, workload)
    before = {row["id"] for row in rows_of(api.get("/v1/gates", workload=name, adapter=adapter), "gates")}
    asked = api.post("/v1/gates", {"workload": name, "adapter": adapter}, once=uuid4().hex)
    if not wait:
        if json:
            print_json(asked)
        else:
            print_sentence(f"Asked for: {asked.get('id')} ({asked.get('state')}).")
            print_next_step("flywheel gate show")
        return
    _answer(_decided(api, name, adapter, str(asked["id"]), before, timeout), json=json)


@commands.command("show")
def show(
    gate: Annotated[str | None, typer.Argument(help="Its id; else the newest.")] = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="List all, a line each.")] = False,
    workload: WorkloadName = None,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """A gate with its axes. The exit code is its verdict, as for `gate run`."""
    api, _ = open_api(config, token_file)
    if gate is not None:
        _answer(api.get(f"/v1/gates/{in_path(gate)}"), json=json)
        return
    rows = rows_of(api.get("/v1/gates", workload=workload), "gates")
    if rows and not all_of_them:
        _answer(max(rows, key=lambda row: str(row["at"])), json=json)
        return
    if json:
        print_json({"gates": rows})
        return
    print_table(
        rows, ("id", "workload", "adapter", "champion", "decision.verdict", "decision.reason", "at"), none="No gate has been decided."
    )
    print_next_step(f"flywheel gate show {rows[0]['id']}" if rows else "flywheel train --reason ...")


def _decided(api: "ApiClient", workload: str, adapter: str, work: str, before: set[Json], timeout: float) -> dict[str, Json]:
    """The gate that answers this request: a new one, or the newest one when nothing has changed since."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        state = api.get(f"/v1/work/{in_path(work)}").get("state")
        rows = rows_of(api.get("/v1/gates", workload=workload, adapter=adapter), "gates")
        new = [row for row in rows if row["id"] not in before]
        if new or (state == "done" and rows):
            return new[0] if new else rows[0]
        if state in ("done", "failed"):
            raise CannotRun("the gate could not be run", where=adapter, remedy="See the gatekeeper's lines in <data_dir>/logs/host.log.")
        time.sleep(LOOK_EVERY_SECONDS)
    raise CannotRun("no verdict yet", where=adapter, value=f"{timeout:.0f} s", remedy="The gate goes on; look with: flywheel gate show.")


def _answer(gate: dict[str, Json], *, json: bool) -> None:
    decision = mapping_of(gate, "decision")
    verdict = str(decision.get("verdict"))
    if json:
        print_json(gate)
    else:
        print_fields(gate, ("id", "workload", "adapter", "champion", "golden_version", "at", "decision.verdict", "decision.reason"))
        columns = (
            "name",
            "n",
            "baseline_arm",
            "baseline",
            "challenger",
            "wins",
            "losses",
            "p",
            "low",
            "high",
            "margin",
            "verdict",
            "reason",
        )
        print_table(rows_of(decision, "axes"), columns, none="No axis was judged.")
        left_out = decision.get("unanswerable")
        if isinstance(left_out, list) and left_out:
            named = ", ".join(map(str, left_out[:NAMED_CASES])) + (", ..." if len(left_out) > NAMED_CASES else "")
            print_sentence(f"Cases left out ({len(left_out)}), because the server refused their request from every arm: {named}.")
        _print_incorrect(rows_of(decision, "incorrect"))
        print_next_step(
            {
                "pass": "flywheel release status",
                "refuse": "better data, or flywheel release approve --override-gate --reason ... (scope override)",
                "cannot_tell": "more golden cases: the reason says how many",
            }.get(verdict, "flywheel release status")
        )
    code = EXIT_CODES.get(verdict, 1)
    if code:
        raise typer.Exit(code)


def _print_incorrect(answers: list[dict[str, Json]]) -> None:
    """What the challenger got wrong; of tool calls, how near each argument was."""
    if not answers:
        return
    print_sentence(f"Incorrect answers of the challenger (the first {len(answers)}); scores of arguments are 0 (wrong) to 1 (right).")
    rows = [{**answer, "arguments": _worst_first(mapping_of(answer, "arguments"))} for answer in answers]
    print_table(rows, ("case", "reason", "arguments"), none="")


def _worst_first(scores: dict[str, Json]) -> str:
    return ", ".join(f"{name} {score}" for name, score in sorted(scores.items(), key=lambda one: (number_of(one[1]) or 0.0, one[0])))
