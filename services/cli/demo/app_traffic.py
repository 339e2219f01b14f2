"""The demo's users: they send requests to the gateway through the ``openai`` client, as an application does.

In: items, each in a session of its own. Out: requests and answers, in order. The gateway records them.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from openai import APIConnectionError, APIStatusError, AsyncOpenAI

from services.cli.demo.tool_router import ToolItem


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as its user saw it."""

    item: ToolItem
    request_id: str
    adapter: str
    answer: str
    ok: bool


class AppTraffic:
    """Sends requests with a bounded number in flight, and counts them."""

    def __init__(self, *, url: str, token: str, alias: str, max_tokens: int, concurrency: int) -> None:
        self._url, self._token, self._alias, self._max_tokens, self._concurrency = url, token, alias, max_tokens, concurrency
        self.sent = 0
        self.failed = 0

    def send(self, items: Sequence[ToolItem], *, round_name: str, done: Callable[[Asked], None]) -> list[Asked]:
        """Sends all items; ``round_name`` is part of the session id, so another round is other users."""
        return asyncio.run(self._send(items, round_name, done, lambda: False))

    def send_until(
        self, items: Sequence[ToolItem], *, round_name: str, done: Callable[[Asked], None], enough: Callable[[], bool]
    ) -> list[Asked]:
        """Sends items until ``enough`` returns True; no request starts after that."""
        return asyncio.run(self._send(items, round_name, done, enough))

    async def _send(
        self, items: Sequence[ToolItem], round_name: str, done: Callable[[Asked], None], enough: Callable[[], bool]
    ) -> list[Asked]:
        answered: list[Asked | None] = [None] * len(items)
        waiting = iter(enumerate(items))
        async with AsyncOpenAI(base_url=f"{self._url}/v1", api_key=self._token, max_retries=0, timeout=300) as client:

            async def user() -> None:
                for at, item in waiting:  # one iterator for all users: each takes the next item
                    if enough():
                        return
                    answered[at] = asked = await self._ask(client, item, round_name)
                    done(asked)

            await asyncio.gather(*(user() for _ in range(self._concurrency)))
        return [asked for asked in answered if asked is not None]

    async def _ask(self, client: AsyncOpenAI, item: ToolItem, round_name: str) -> Asked:
        self.sent += 1
        try:
            answer = await client.chat.completions.with_raw_response.create(
                model=self._alias,
                messages=item.messages,
                max_tokens=self._max_tokens,
                temperature=0,
                extra_headers={
                    "X-Flywheel-Session": f"{round_name}-{item.id}",
                    "X-Flywheel-Dim-tenant": item.tenant,
                    "X-Flywheel-Dim-function": item.function,
                },
            )
        except (APIStatusError, APIConnectionError):
            self.failed += 1
            return Asked(item=item, request_id="", adapter="", answer="", ok=False)
        return Asked(
            item=item,
            request_id=answer.headers["X-Flywheel-Request"],
            adapter=answer.headers["X-Flywheel-Adapter"],
            answer=answer.parse().choices[0].message.content or "",
            ok=True,
        )
