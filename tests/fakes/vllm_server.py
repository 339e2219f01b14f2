"""A stand-in for one vLLM replica: the same routes, status codes and error texts as vLLM 0.32, scripted answers.

In: ``answers(model, messages)``. Out: an HTTP server on a free loopback port. ``tests/contract/test_adapter_server.py`` runs the
same assertions on this and on a real vLLM. Weights, tokens and timing are not imitated.

    with FakeVllm(answers=lambda model, messages: "hello") as vllm:
        httpx.get(vllm.url + "/v1/models")

Asynchronous tests may use it too: the server lives in a thread of its own.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

Messages = Sequence[Mapping[str, Any]]


@dataclass(kw_only=True)
class FakeVllm:
    """Public fields may be changed while it runs; ``requests`` and ``admin`` tell what it was asked."""

    answers: Callable[[str, Messages], str] = lambda model, messages: f"{model} says hello"
    delay: float = 0.0  # seconds before each answer
    base: str = "base"
    adapters: dict[str, str] = field(default_factory=dict)  # name -> path, as listed
    refused: dict[str, str] = field(default_factory=dict)  # path -> the reason for which loading it answers 500
    failing: dict[str, tuple[int, str]] = field(default_factory=dict)  # model -> (status, message) for every completion
    log_probability: Callable[[str, int, int], float] = lambda model, position, token: -1.0  # (model, position in the prompt, token id)
    dead: bool = False  # /health answers 503
    api_key: str | None = None
    check_paths: bool = True  # a path that is not there answers 404, as the real one does
    requests: list[dict[str, Any]] = field(default_factory=list)  # bodies of the completions asked
    admin: list[tuple[str, str]] = field(default_factory=list)  # ("load" | "unload", name)
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
        app = web.Application(client_max_size=8 * 2**20, middlewares=[self._authorised])
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/v1/models", self._models),
                web.post("/v1/load_lora_adapter", self._load),
                web.post("/v1/unload_lora_adapter", self._unload),
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/completions", self._completions),
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
        guarded = request.path.startswith("/v1") and self.api_key is not None
        if guarded and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        answer: web.StreamResponse = await handler(request)
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
        text = self.answers(body["model"], body["messages"])
        usage = {"prompt_tokens": 10, "completion_tokens": len(text.split()), "total_tokens": 10 + len(text.split())}
        head = {"id": f"chatcmpl-{len(self.requests)}", "created": 0, "model": body["model"]}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text, "tool_calls": []}
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
            return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        return await self._stream(request, head, text, usage if (body.get("stream_options") or {}).get("include_usage") else None)

    async def _stream(self, request: web.Request, head: dict[str, Any], text: str, usage: dict[str, int] | None) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)

        async def send(choices: list[dict[str, Any]], **more: Any) -> None:
            chunk = {**head, "object": "chat.completion.chunk", "choices": choices, **more}
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

        await send([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
        for start in range(0, len(text), 8):
            await send([{"index": 0, "delta": {"content": text[start : start + 8]}, "finish_reason": None}])
        await send([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if usage is not None:
            await send([], usage=usage)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        failed = await self._accept(body)
        if failed is not None:
            return failed
        model, prompt = body["model"], body["prompt"]
        text = " " if isinstance(prompt, list) else self.answers(model, [{"role": "user", "content": prompt}])
        choice: dict[str, Any] = {"index": 0, "text": text, "logprobs": None, "finish_reason": "length"}
        allowed = body.get("allowed_token_ids")
        if body.get("logprobs") is not None and allowed:
            said = self.log_probability(model, len(prompt), allowed[0])
            choice["logprobs"] = {"tokens": [f"token_id:{allowed[0]}"], "token_logprobs": [said], "top_logprobs": [{}]}
        return web.json_response({"id": f"cmpl-{len(self.requests)}", "object": "text_completion", "model": model, "choices": [choice]})

    async def _accept(self, body: dict[str, Any]) -> web.Response | None:
        """None when the request can be answered."""
        self.requests.append(body)
        if self.delay:
            await asyncio.sleep(self.delay)
        model = body.get("model")
        if model != self.base and model not in self.adapters:
            return _error(404, "NotFoundError", f"The model `{model}` does not exist.")
        if model in self.failing:
            status, message = self.failing[model]
            return _error(status, "InternalServerError", message)
        return None


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": kind, "param": None, "code": status}}, status=status)
