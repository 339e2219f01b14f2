"""``flywheel dlq``: dead letters, the events that could not be recorded or decided."""

from pathlib import Path
from typing import Annotated

import typer

from flywheel.traffic.dead_letter import LetterCause
from services.cli.options import AsJson, Config, Reason, TokenFile, WorkloadName, in_path, open_api
from services.cli.output import print_fields, print_json, print_next_step, print_sentence, print_table, rows_of

commands = typer.Typer(help="Dead letters: events that could not be recorded or decided.", no_args_is_help=True)
LetterName = Annotated[str, typer.Argument(metavar="LETTER", help="Its id, from `flywheel dlq list`.")]
LetterNames = Annotated[list[str], typer.Argument(metavar="LETTER...", help="Their ids, from `flywheel dlq list`.")]
Cause = Annotated[LetterCause | None, typer.Option("--cause", help="List only letters with this cause.")]
WORDS = {"retried": "It was sent to its topic again.", "dropped": "It was dropped, and its content was deleted."}


@commands.command("list")
def list_all(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000, help="How many, newest first.")] = 50,
    workload: WorkloadName = None,
    cause: Cause = None,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """List dead letters, newest first, with the reason of each."""
    api, _ = open_api(config, token_file)
    answer = api.get("/v1/dead-letters", workload=workload, cause=cause.value if cause else None, limit=limit)
    if json:
        print_json(answer)
        return
    rows = rows_of(answer, "dead_letters")
    columns = ("id", "workload", "state", "cause", "topic", "partition", "offset", "path", "reason", "attempts", "at", "size")
    print_table(rows, columns, none="No dead letters.")
    waiting = next((row for row in rows if row.get("state") == "waiting"), None)
    print_next_step(f"flywheel dlq show {waiting['id']}" if waiting else "nothing to do")


@commands.command("show")
def show(letter: LetterName, json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """Show a dead letter: place, cause, reason, redacted content, and what to do."""
    api, _ = open_api(config, token_file)
    answer = api.get(f"/v1/dead-letters/{in_path(letter)}")
    if json:
        print_json(answer)
        return
    step = answer.pop("next_step")
    print_fields(answer)
    print_next_step(str(step))


@commands.command("retry")
def retry(letters: LetterNames, json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """Send the events to their topics again. Safe to repeat: an event that was recorded counts once."""
    _each(letters, "retry", {}, json=json, config=config, token_file=token_file)


@commands.command("drop")
def drop(letters: LetterNames, reason: Reason, json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """Delete the content of dead letters for good. The journal keeps your name and the reason."""
    _each(letters, "drop", {"reason": reason}, json=json, config=config, token_file=token_file)


def _each(letters: list[str], deed: str, body: dict[str, object], *, json: bool, config: Path | None, token_file: Path | None) -> None:
    """Stops at the first letter that is refused; those before it are done."""
    api, _ = open_api(config, token_file)
    answers = []
    for letter in letters:
        answer = api.post(f"/v1/dead-letters/{in_path(letter)}/{deed}", body)
        answers.append(answer)
        if not json:
            print_sentence(f"{letter}: {WORDS.get(str(answer.get('state')), answer.get('state'))}")
    if json:
        print_json({"dead_letters": answers})
        return
    print_next_step(str(answers[-1].get("next_step")))
