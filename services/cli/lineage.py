"""``flywheel lineage``: where an adapter comes from."""

from typing import Annotated

import typer

from services.cli.options import AsJson, Config, TokenFile, opened
from services.cli.show import as_json, facts, next_step, rows_of, said, table


def lineage(
    adapter: Annotated[str, typer.Argument(help="The adapter's name, as in the header X-Flywheel-Adapter.")],
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """From a serving adapter back to its run, training set and corrections, and on to its gates and releases."""
    api, _ = opened(config, token_file)
    answer = api.get(f"/v1/lineage/{adapter}")
    if json:
        as_json(answer)
        return
    facts(answer, ("adapter.name", "adapter.digest", "adapter.base_digest", "run.id", "run.plan.method", "parent"))
    facts(answer, ("snapshot.id", "snapshot.counts", "corrections"))
    said("history")
    table(rows_of(answer, "history"), ("at", "kind", "subject", "state", "reason", "actor", "caused_by"), none="  none")
    next_step("flywheel release status")
