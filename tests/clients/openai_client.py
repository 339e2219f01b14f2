"""OpenAI's Python client, unmodified, driven line by line: runs in an environment of its own and imports nothing of this project.

In: a JSON object a line on standard input, ``{"do": <a function below>, "url", "key", ...}``. Out: a line for each, ``{"done": ...}`` or
``{"raised": {"kind", "status", "code", "type", "message"}}``. ``openai_client.mjs`` does the same with the client for Node.
"""

import json
import sys
import time

import openai
from pydantic import BaseModel


class Route(BaseModel):
    """An answer in a form."""

    team: str
    urgent: bool


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "track",
            "description": "Where an order is",
            "parameters": {"type": "object", "properties": {"order": {"type": "integer"}}, "required": ["order"]},
        },
    }
]


def models(client, model, **_):
    listed = [one.id for one in client.models.list()]
    return {"listed": listed, "retrieved": client.models.retrieve(model).id}


def chat(client, model, messages, more=None, headers=None, **_):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=messages, extra_headers=headers, **(more or {}))
    answer = raw.parse()
    choice = answer.choices[0]
    return {
        "id": answer.id,
        "text": choice.message.content,
        "calls": [[call.function.name, call.function.arguments] for call in choice.message.tool_calls or []],
        "finish_reason": choice.finish_reason,
        "model": answer.model,
        "request": raw.headers.get("X-Flywheel-Request") or raw.headers.get("llm_provider-x-flywheel-request"),  # LiteLLM's name
        "tokens": answer.usage.total_tokens,
    }


def stream(client, model, messages, more=None, headers=None, stop_after=None, pause=0.0, **_):
    text, calls, reasons, seen, usages, chunks = "", {}, [], set(), 0, 0
    with client.chat.completions.create(model=model, messages=messages, stream=True, extra_headers=headers, **(more or {})) as events:
        for chunk in events:
            chunks += 1
            seen.add(chunk.model)
            usages += chunk.usage is not None
            for choice in chunk.choices:
                text += choice.delta.content or ""
                for call in choice.delta.tool_calls or []:
                    name, arguments = calls.get(call.index, ("", ""))
                    calls[call.index] = (name + (call.function.name or ""), arguments + (call.function.arguments or ""))
                if choice.finish_reason:
                    reasons.append(choice.finish_reason)
            if stop_after is not None and chunks >= stop_after:
                break
            time.sleep(pause)
    found = [list(call) for _, call in sorted(calls.items())]
    return {"text": text, "calls": found, "finish_reason": reasons[-1] if reasons else None, "models": sorted(seen), "usages": usages}


def tool_round(client, model, messages, more=None, **_):
    """Asks, runs every tool that was called, and asks again with the results."""
    first = client.chat.completions.create(model=model, messages=messages, **(more or {"tools": TOOLS})).choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"at": json.loads(call.function.arguments)["order"]})}
        for call in first.tool_calls
    ]
    sent = [*messages, first.model_dump(exclude_none=True), *results]
    return {"calls": len(first.tool_calls), "text": client.chat.completions.create(model=model, messages=sent).choices[0].message.content}


def parse(client, model, messages, **_):
    message = client.chat.completions.parse(model=model, messages=messages, response_format=Route).choices[0].message
    return {"team": message.parsed.team, "urgent": message.parsed.urgent}


def embeddings(client, model, inputs, **_):
    plain = client.embeddings.create(model=model, input=inputs, encoding_format="float")
    answer = client.embeddings.create(model=model, input=inputs)
    return {"vectors": [one.embedding for one in answer.data], "same": [one.embedding for one in plain.data], "model": answer.model}


def responses(client, model, text, more=None, **_):
    whole = client.responses.create(model=model, input=text, **(more or {}))
    events = list(client.responses.create(model=model, input=text, stream=True, **(more or {})))
    return {
        "text": whole.output_text,
        "model": whole.model,
        "streamed": "".join(event.delta for event in events if event.type == "response.output_text.delta"),
        "last": [events[-1].type, events[-1].response.model],
    }


def completions(client, model, text, more=None, **_):
    answer = client.completions.create(model=model, prompt=text, **(more or {}))
    streamed = list(client.completions.create(model=model, prompt=text, stream=True, **(more or {})))
    return {"text": answer.choices[0].text, "model": answer.model, "streamed": "".join(one.choices[0].text or "" for one in streamed)}


def transcription(client, model, sound, **_):
    return {"text": client.audio.transcriptions.create(model=model, file=("a b.wav", bytes.fromhex(sound), "audio/wav")).text}


DEEDS = {deed.__name__: deed for deed in (models, chat, stream, tool_round, parse, embeddings, responses, completions, transcription)}


def main():
    for line in sys.stdin:
        asked = json.loads(line)
        client = openai.OpenAI(base_url=asked.pop("url"), api_key=asked.pop("key"), max_retries=asked.pop("retries", 0), timeout=60)
        try:
            told = {"done": DEEDS[asked.pop("do")](client, **asked)}
        except openai.APIError as error:
            fields = {name: getattr(error, name, None) for name in ("code", "type")}
            status = getattr(error, "status_code", None)
            told = {"raised": {"kind": type(error).__name__, "status": status, "message": error.message, **fields}}
        except Exception as error:  # noqa: BLE001 (the test says whether it should have been raised)
            told = {"raised": {"kind": type(error).__name__, "status": None, "message": str(error), "code": None, "type": None}}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


main()
