"""``flywheel lineage``: the origin of an adapter and its history."""

from typing import Annotated

import typer

from services.cli.options import AsJson, Config, TokenFile, in_path, open_api
from services.cli.output import print_fields, print_json, print_next_step, print_sentence, print_table, rows_of


def lineage(
    adapter: Annotated[str, typer.Argument(help="The adapter's name, as in the header X-Flywheel-Adapter.")],
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """The origin and history of an adapter. Its run, training set and corrections; its gates and releases."""
    api, _ = open_api(config, token_file)
    answer = api.get(f"/v1/lineage/{in_path(adapter)}")
    if json:
        print_json(answer)
        return
    print_fields(answer, ("adapter.name", "adapter.digest", "adapter.base_digest", "run.id", "run.plan.method", "parent"))
    print_fields(answer, ("snapshot.id", "snapshot.counts", "corrections"))
    print_sentence("history")
    print_table(rows_of(answer, "history"), ("at", "kind", "subject", "state", "reason", "actor", "caused_by"), none="  none")
    print_next_step("flywheel release status")
