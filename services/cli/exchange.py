"""``flywheel exchange``: a recorded request and its answer, as they were served."""

import json as json_text
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from services.cli.options import AsJson, Config, TokenFile, in_path, open_api
from services.cli.output import Json, escaped, mapping_of, print_fields, print_json, print_next_step, print_sentence, rows_of

commands = typer.Typer(help="Recorded requests and their answers.", no_args_is_help=True)
FIELDS = (
    *("request_id", "completion_id", "client_request_id", "workload", "occurred_at", "stated_at", "client", "session", "dimensions"),
    *("adapter", "arm", "attempt", "route_version", "status", "outcome", "error", "latency_ms", "added", "left_out"),
)


@commands.command("show")
def show(
    id: Annotated[str, typer.Argument(help="Our request id, the completion's id, or the client's own id of its request.")],
    workload: Annotated[str | None, typer.Option("--workload", "-w", help="Its name; needed only for an id that several have.")] = None,
    json: AsJson = False,
    config: Config = None,
    token_file: TokenFile = None,
) -> None:
    """Show one exchange. Who asked what, which adapter answered what, what the gateway added and what was left out."""
    api, _ = open_api(config, token_file)
    answer = api.get(f"/v1/exchanges/{in_path(id)}", workload=workload)
    if json:
        print_json(answer)
        return
    print_fields(answer, FIELDS)
    for line in _content(answer):
        print_sentence(line)
    print_next_step(f"flywheel corrections submit FILE, with request_id {answer['request_id']}, if the answer is wrong")


def _content(exchange: Mapping[str, Json]) -> Iterator[str]:
    if exchange.get("unreadable"):
        yield f"\nThere is no content to show: {exchange['unreadable']}."
        return
    if exchange.get("text_only"):
        yield "\nAn older version recorded this: roles and text alone."
    request, response = mapping_of(exchange, "request"), mapping_of(exchange, "response")
    settings = {name: value for name, value in request.items() if name not in ("messages", "tools")}
    if settings:
        yield "\nsettings"
        yield from (f"  {escaped(name)} = {_compact(value)}" for name, value in settings.items())
    if tools := request.get("tools"):
        yield "\ntools"
        yield from (f"  {_compact(tool)}" for tool in (tools if isinstance(tools, list) else [tools]))
    for message in rows_of(request, "messages"):
        yield from _message(message, title=str(message.get("role")))
    for choice in rows_of(response, "choices"):
        yield from _message(
            mapping_of(choice, "message"), title=f"answer {choice.get('index')}, {choice.get('finish_reason') or 'no finish reason'}"
        )
    if not response:
        yield "\nThere is no answer."
    elif usage := response.get("usage"):
        yield f"\nusage\n  {_compact(usage)}"


def _message(message: Mapping[str, Json], *, title: str) -> Iterator[str]:
    """Its text in plain, its other fields as JSON."""
    yield f"\n[{escaped(title)}]"
    content = message.get("content")
    for part in content if isinstance(content, list) else [content]:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else part
        if text is not None:
            yield escaped(text) if isinstance(text, str) else _compact(text)
    yield from (f"{escaped(name)}: {_compact(value)}" for name, value in message.items() if name not in ("role", "content"))


def _compact(value: Json) -> str:
    return escaped(value if isinstance(value, str) else json_text.dumps(value, ensure_ascii=False))
