"""A stand-in for one vLLM replica: the same routes, status codes and error texts as vLLM 0.32, scripted answers.

In: ``answers(model, messages)``, a text or a message with tool calls. Out: an HTTP server on a free loopback port.
``tests/contract/test_adapter_server.py`` runs the same assertions on this and on a real vLLM. Weights, tokens and timing are not imitated.
It serves embeddings and rerank too, as a vLLM with a model for these does; ``embeds`` False: as one with a chat model.

    with FakeVllm(answers=lambda model, messages: "hello") as vllm:
        httpx.get(vllm.url + "/v1/models")

Asynchronous tests may use it too: the server lives in a thread of its own.
"""

import asyncio
import base64
import json
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from aiohttp import web
from safetensors.numpy import load_file

Messages = Sequence[Mapping[str, Any]]


@dataclass(kw_only=True)
class FakeVllm:
    """Public fields may be changed while it runs; ``requests`` and ``admin`` tell what it was asked."""

    answers: Callable[[str, Messages], str | Mapping[str, Any]] = lambda model, messages: f"{model} says hello"
    delay: float = 0.0  # seconds before each answer
    slow: dict[str, float] = field(default_factory=dict)  # model -> seconds before its answers
    pause: float = 0.0  # seconds between two pieces of a stream
    embeds: bool = False  # serves embeddings and rerank
    base: str = "base"
    adapters: dict[str, str] = field(default_factory=dict)  # name -> path, as listed
    refused: dict[str, str] = field(default_factory=dict)  # path -> the reason for which loading it answers 500
    failing: dict[str, tuple[int, str]] = field(default_factory=dict)  # model -> (status, message) for every completion
    too_long: str = ""  # a request that contains this text gets 400, as one beyond the context length
    log_probability: Callable[[str, int, int], float] = lambda model, position, token: -1.0  # (model, position in the prompt, token id)
    dead: bool = False  # /health answers 503
    api_key: str | None = None
    check_paths: bool = True  # a path that is not there answers 404, as the real one does
    requests: list[dict[str, Any]] = field(default_factory=list)  # bodies of the completions asked
    admin: list[tuple[str, str]] = field(default_factory=list)  # ("load" | "unload", name)
    paths: list[str] = field(default_factory=list)  # of every request
    headers: list[Mapping[str, str]] = field(default_factory=list)  # of every request, with lower-case names
    url: str = ""

    def start(self, *, port: int = 0) -> str:
        """Returns the URL once it listens."""
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(port, ready), name="fake-vllm", daemon=True)
        self._thread.start()
        if not ready.wait(10) or not self.url:
            raise RuntimeError("the fake vLLM did not start")
        return self.url

    def stop(self) -> None:
        """Ends it at once, also with requests in flight."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(10)

    def restart_empty(self) -> None:
        """What a restart of the engine does: runtime-loaded adapters are gone."""
        self.adapters.clear()

    def __enter__(self) -> "FakeVllm":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _run(self, port: int, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(port, ready))
        self._loop.close()

    async def _serve(self, port: int, ready: threading.Event) -> None:
        self._stopped = asyncio.Event()
        app = web.Application(client_max_size=64 * 2**20, middlewares=[self._authorised])
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/v1/models", self._models),
                web.post("/v1/load_lora_adapter", self._load),
                web.post("/v1/unload_lora_adapter", self._unload),
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/completions", self._completions),
                web.post("/v1/responses", self._responses),
                web.get("/v1/responses/{id}", self._response),
                web.post("/tokenize", self._tokenize),
                web.post("/v1/audio/transcriptions", self._transcriptions),
                web.post("/v1/embeddings", self._embeddings),
                web.post("/v1/rerank", self._rerank),
                web.get("/metrics", self._administration),
                web.post("/sleep", self._administration),
                web.post("/reset_prefix_cache", self._administration),
            ]
        )
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        try:
            await site.start()
            self.url = "http://{}:{}".format(*runner.addresses[0][:2])
        finally:
            ready.set()
        await self._stopped.wait()
        await runner.cleanup()

    @web.middleware
    async def _authorised(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        self.paths.append(request.path)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        guarded = request.path.startswith("/v1") and self.api_key is not None
        if guarded and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        try:
            answer: web.StreamResponse = await handler(request)
        except web.HTTPException as error:  # FastAPI's form, for a route that is not there
            return web.json_response({"detail": error.reason}, status=error.status)
        return answer

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=503 if self.dead else 200)

    async def _models(self, request: web.Request) -> web.Response:
        base = {"id": self.base, "object": "model", "owned_by": "vllm", "root": "/models/base", "parent": None, "max_model_len": 1024}
        loaded = [
            {"id": name, "object": "model", "owned_by": "vllm", "root": path, "parent": self.base, "max_model_len": None}
            for name, path in self.adapters.items()
        ]
        return web.json_response({"object": "list", "data": [base, *loaded]})

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        name, path = body.get("lora_name"), body.get("lora_path")
        self.admin.append(("load", str(name)))
        if not name or not path:
            return _error(400, "InvalidUserInput", "Both 'lora_name' and 'lora_path' must be provided.")
        if name == self.base:
            return _error(400, "InvalidUserInput", f"The lora adapter '{name}' conflicts with a served base model.")
        if name in self.adapters and not body.get("load_inplace"):
            text = (
                f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True."
            )
            return _error(400, "InvalidUserInput", text)
        if path in self.refused:
            return _error(500, "InternalServerError", self.refused[path])
        if self.check_paths and not (Path(path) / "adapter_config.json").exists():
            return _error(404, "NotFoundError", f"Loading lora {name} failed: No adapter found for {path}")
        self.adapters[name] = path
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: web.Request) -> web.Response:
        name = (await request.json()).get("lora_name")
        self.admin.append(("unload", str(name)))
        if not name:
            return _error(400, "InvalidUserInput", "'lora_name' needs to be provided to unload a LoRA adapter.")
        if name not in self.adapters:
            return _error(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
        del self.adapters[name]
        return web.Response(text=f"Success: LoRA adapter '{name}' removed successfully.")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        failed = await self._accept(body)
        if failed is not None:
            return failed
        if body.get("stream_options") and not body.get("stream"):
            text = "Stream options can only be defined when `stream=True`. (parameter=stream_options)"
            return _error(400, "BadRequestError", text, param="stream_options")
        said = self.answers(body["model"], body["messages"])
        message = {"content": said} if isinstance(said, str) else dict(said)
        reason = message.pop("finish_reason", "tool_calls" if message.get("tool_calls") else "stop")
        words = len(str(message.get("content") or "").split())
        usage = {"prompt_tokens": 10, "completion_tokens": words, "total_tokens": 10 + words}
        head = {"id": f"chatcmpl-{len(self.requests)}", "created": 0, "model": body["model"]}
        if not body.get("stream"):
            whole = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [], "reasoning": None, **message}
            choices = [
                {"index": at, "message": whole, "logprobs": None, "finish_reason": reason, "stop_reason": None}
                for at in range(body.get("n") or 1)
            ]
            return web.json_response({**head, "object": "chat.completion", "choices": choices, "usage": usage, "prompt_logprobs": None})
        options = body.get("stream_options") or {}
        return await self._stream(request, head, message, reason, usage if options.get("include_usage") else None)

    async def _stream(
        self, request: web.Request, head: dict[str, Any], message: dict[str, Any], reason: str, usage: dict[str, int] | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)

        async def send(choices: list[dict[str, Any]], **more: Any) -> None:
            chunk = {**head, "object": "chat.completion.chunk", "choices": choices, **more}
            await response.write(b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n")
            await asyncio.sleep(self.pause)

        def delta(reason: str | None = None, **content: Any) -> list[dict[str, Any]]:
            return [{"index": 0, "delta": content, "logprobs": None, "finish_reason": reason}]

        if message.get("fails"):
            error = {"message": "engine is tired", "type": "InternalServerError", "param": None, "code": 500}
            await response.write(b"data: " + json.dumps({"error": error}).encode() + b"\n\ndata: [DONE]\n\n")
            return response
        await send(delta(role="assistant", content=""))
        for field_name in ("reasoning", "content"):
            for piece in _pieces(message.get(field_name) or ""):
                await send(delta(**{field_name: piece}))
        for index, call in enumerate(message.get("tool_calls") or ()):
            function = {"name": call["function"]["name"], "arguments": ""}
            await send(delta(tool_calls=[{"index": index, "id": call["id"], "type": "function", "function": function}]))
            for piece in _pieces(call["function"]["arguments"]):
                await send(delta(tool_calls=[{"index": index, "function": {"arguments": piece}}]))
        await send(delta(reason))
        if usage is not None:
            await send([], usage=usage)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        failed = await self._accept(body)
        if failed is not None:
            return failed
        said = self.answers(body["model"], [{"role": "user", "content": body["input"]}])
        content = [{"type": "output_text", "text": said, "annotations": []}]
        output = [{"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}]
        settings = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": body.get("metadata"), "error": None}
        whole = {"id": "resp_1", "object": "response", "created_at": 0, "model": body["model"], "output": output, **settings}
        if not body.get("stream"):
            return web.json_response({**whole, "status": "completed"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": {**whole, "output": [], "status": "in_progress"}},
            *({"type": "response.output_text.delta", "delta": piece, "item_id": "msg_1"} for piece in _pieces(str(said))),
            {"type": "response.completed", "response": {**whole, "status": "completed"}},
        ]
        for number, event in enumerate(events):
            await response.write(f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n".encode())
        return response

    async def _response(self, request: web.Request) -> web.Response:
        if request.match_info["id"] == "resp_1":
            return web.json_response({"id": "resp_1", "object": "response", "model": self.base, "output": []})
        text = f"Response with id '{request.match_info['id']}' not found."
        return _error(404, "invalid_request_error", text, param="response_id")

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        failed = await self._accept(body)
        tokens = list(range(len(str(body.get("prompt", "")).split())))
        return failed or web.json_response({"count": len(tokens), "max_model_len": 1024, "tokens": tokens, "token_strs": None})

    async def _transcriptions(self, request: web.Request) -> web.Response:
        form = await request.post()
        sent = form["file"]
        failed = await self._accept({name: value for name, value in form.items() if isinstance(value, str)})
        if failed is not None or not isinstance(sent, web.FileField):
            return failed or _error(400, "Bad Request", "Expected UploadFile", param="body.file")
        return web.json_response({"text": f"{len(sent.file.read())} bytes of {sent.content_type}, called {sent.filename}"})

    async def _embeddings(self, request: web.Request) -> web.Response:
        body = await request.json()
        if not self.embeds:
            raise web.HTTPNotFound
        failed = await self._accept(body)
        if failed is not None:
            return failed
        numbers = struct.pack("<3f", 0.5, -0.5, 0.25)
        vector = base64.b64encode(numbers).decode() if body.get("encoding_format") == "base64" else list(struct.unpack("<3f", numbers))
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [{"object": "embedding", "index": at, "embedding": vector} for at in range(len(inputs))]
        usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
        return web.json_response({"id": "embd-1", "object": "list", "model": body["model"], "data": data, "usage": usage})

    async def _rerank(self, request: web.Request) -> web.Response:
        body = await request.json()
        if not self.embeds:
            raise web.HTTPNotFound
        failed = await self._accept(body)
        results = [{"index": at, "relevance_score": 1 / (1 + at)} for at in range(len(body.get("documents") or ()))]
        return failed or web.json_response({"id": "score-1", "model": body["model"], "results": results})

    async def _administration(self, request: web.Request) -> web.Response:
        self.admin.append(("reached", request.path))
        return web.Response(text="done")

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        failed = await self._accept(body)
        if failed is not None:
            return failed
        model, prompt = body["model"], body["prompt"]
        text = " " if isinstance(prompt, list) else self.answers(model, [{"role": "user", "content": prompt}])
        choice: dict[str, Any] = {"index": 0, "text": text, "logprobs": None, "finish_reason": "length"}
        if body.get("stream"):
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
            await response.prepare(request)
            chunk = {"id": "cmpl-1", "object": "text_completion", "created": 0, "model": model, "choices": [choice]}
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n")
            return response
        allowed = body.get("allowed_token_ids")
        if body.get("logprobs") is not None and allowed:
            said = self.log_probability(model, len(prompt), allowed[0])
            choice["logprobs"] = {"tokens": [f"token_id:{allowed[0]}"], "token_logprobs": [said], "top_logprobs": [{}]}
        return web.json_response({"id": f"cmpl-{len(self.requests)}", "object": "text_completion", "model": model, "choices": [choice]})

    async def _accept(self, body: dict[str, Any]) -> web.Response | None:
        """None when the request can be answered."""
        self.requests.append(body)
        model = body.get("model")
        await asyncio.sleep(self.slow.get(str(model), self.delay))
        if model != self.base and model not in self.adapters:
            return _error(404, "NotFoundError", f"The model `{model}` does not exist. Valid aliases: {self.base}.", param="model")
        if model in self.failing:
            status, message = self.failing[model]
            return _error(status, "InternalServerError", message)
        if self.too_long and self.too_long in str(body.get("messages")):
            return _error(400, "BadRequestError", "This model's maximum context length is 4096 tokens.")
        if body.get("logprobs") is not None and _holds_nan(self.adapters.get(model)):
            return _error(400, "BadRequestError", "Out of range float values are not JSON compliant")
        return None


def _pieces(text: str) -> list[str]:
    return [text[start : start + 8] for start in range(0, len(text), 8)]


def _error(status: int, kind: str, message: str, *, param: str | None = None) -> web.Response:
    return web.json_response({"error": {"message": message, "type": kind, "param": param, "code": status}}, status=status)


def _holds_nan(path: str | None) -> bool:
    weights = Path(path or "", "adapter_model.safetensors")
    return weights.is_file() and not all(np.isfinite(tensor).all() for tensor in load_file(weights).values())
