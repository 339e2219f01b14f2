"""Asks a model over the OpenAI protocol, at the server and not through the gateway: a gate's requests are no traffic.

All arms are asked in the same way: temperature 0, the same concurrency (temperature 0 is not batch-invariant). Answers are
cached by a digest of the request, so that the next gate need not ask the baselines again.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence

import httpx

from flywheel.errors import InvalidInput
from flywheel.ids import BASE, AdapterName, digest_of
from flywheel.traffic.exchange import Prompt, exchange_from_wire
from flywheel.traffic.task_prompt import task_prompt
from services.ports.gate import Answer, GateLedger

ATTEMPTS = 4
FIRST_WAIT_SECONDS = 0.5  # doubles with each attempt
TRY_AGAIN = frozenset({0, 408, 409, 425, 429, 500, 502, 503, 504})  # 0: no answer at all


class OpenAiAnswers:
    """Answers on a server that speaks /v1/chat/completions."""

    def __init__(
        self, url: str, *, cache: GateLedger, base_identity: Callable[[], str], key: str | None = None, timeout_seconds: float = 180.0
    ) -> None:
        """``base_identity`` returns what identifies the base model: an adapter's name identifies it, ``base`` does not."""
        self._url = url.rstrip("/")
        self._cache = cache
        self._base_identity = base_identity
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout = timeout_seconds
        # Loading the system's certificates takes longer than many answers: done once, and only for https.
        self._tls = httpx.create_ssl_context() if url.startswith("https") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def ask(self, adapter: AdapterName, prompts: Sequence[Prompt], *, max_tokens: int, concurrency: int) -> Sequence[Answer]:
        identity = self._base_identity() if adapter == BASE else adapter
        keys = [_key(identity, prompt, max_tokens, concurrency) for prompt in prompts]
        known = dict(self._cache.cached_answers(keys))
        missing = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in known}
        if missing:
            known.update(asyncio.run(self._ask_all(adapter, missing, max_tokens, concurrency)))
        return [known[key] for key in keys]

    async def _ask_all(self, adapter: AdapterName, prompts: Mapping[str, Prompt], max_tokens: int, concurrency: int) -> dict[str, Answer]:
        """Keeps answers as they come, some at a time: a gate that is killed goes on where it was."""
        slots, answers, unsaved = asyncio.Semaphore(concurrency), dict[str, Answer](), dict[str, Answer]()
        limits = httpx.Limits(max_connections=concurrency)
        async with httpx.AsyncClient(
            timeout=self._timeout, headers=self._headers, limits=limits, trust_env=False, verify=self._tls
        ) as client:

            async def one(key: str, prompt: Prompt) -> None:
                async with slots:
                    answers[key] = await self._with_retries(client, adapter, prompt, max_tokens)
                if answers[key].status == httpx.codes.OK:
                    unsaved[key] = answers[key]
                if len(unsaved) >= concurrency:
                    save()

            def save() -> None:
                self._cache.cache_answers(unsaved)
                unsaved.clear()

            try:
                await asyncio.gather(*(one(key, prompt) for key, prompt in prompts.items()))
            finally:
                save()
        return answers

    async def _with_retries(self, client: httpx.AsyncClient, adapter: AdapterName, prompt: Prompt, max_tokens: int) -> Answer:
        for attempt in range(ATTEMPTS):
            answer = await self._once(client, adapter, prompt, max_tokens)
            if answer.status not in TRY_AGAIN:
                break
            if attempt + 1 < ATTEMPTS:
                await asyncio.sleep(FIRST_WAIT_SECONDS * 2**attempt)
        return answer

    async def _once(self, client: httpx.AsyncClient, adapter: AdapterName, prompt: Prompt, max_tokens: int) -> Answer:
        asked = task_prompt(prompt).to_wire()
        body = {**asked, "model": adapter, "max_tokens": max_tokens, "temperature": 0}
        began = time.monotonic()
        try:
            response = await client.post(f"{self._url}/v1/chat/completions", json=body)
        except httpx.HTTPError as error:
            return Answer(text=None, finish_reason=None, status=0, error=f"{type(error).__name__}: {error}")
        taken = (time.monotonic() - began) * 1000
        if response.status_code != httpx.codes.OK:
            return Answer(text=None, finish_reason=None, status=response.status_code, error=response.text[:500], latency_ms=taken)
        try:
            answer = exchange_from_wire(asked, response.json(), where="answer").answer
        except (ValueError, InvalidInput, AttributeError, TypeError) as error:
            return Answer(text=None, finish_reason=None, status=502, error=f"not a chat completion: {error!r}", latency_ms=taken)
        if answer is None:
            return Answer(text=None, finish_reason=None, status=502, error="not a chat completion: it has no choice", latency_ms=taken)
        return Answer(text=answer.text, finish_reason=answer.finish_reason, status=200, latency_ms=taken)


def _key(identity: str, prompt: Prompt, max_tokens: int, concurrency: int) -> str:
    asked = {**task_prompt(prompt).to_wire(), "model": identity, "max_tokens": max_tokens, "concurrency": concurrency}
    return digest_of(json.dumps(asked, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False))
