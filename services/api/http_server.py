"""The HTTP server: uvicorn that ends with the process, and closes connections that send nothing."""

import asyncio
import ssl
import threading

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

LOOK_SECONDS = 0.5  # between two looks whether the process is to end


class HttpServer(uvicorn.Server):  # type: ignore[misc]
    """Ends with ``stop``, and looks for it twice a second instead of ten times."""

    def __init__(self, config: uvicorn.Config, *, stop: threading.Event, tls: ssl.SSLContext | None) -> None:
        super().__init__(config)
        config.load()
        config.ssl = tls  # uvicorn's own settings take the names of files, which it reads once
        self._stop = stop

    async def main_loop(self) -> None:
        while not self._stop.is_set() and not await self.on_tick(0):  # noqa: ASYNC110  the event is a thread's
            await asyncio.sleep(LOOK_SECONDS)


def closing_idle(idle_seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which itself waits for ever for the head of a first request, and for the rest of a head that has begun."""

    class ClosingIdle(AutoHTTPProtocol):  # type: ignore[misc]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._idle_since = self.loop.time()
            self._look()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._idle_since = self.loop.time()

        def _look(self) -> None:
            if self.transport.is_closing():
                return
            answers = self.cycle is not None and not self.cycle.response_complete
            left = idle_seconds if answers else self._idle_since + idle_seconds - self.loop.time()
            if left <= 0:
                self.transport.close()
            else:
                self.loop.call_later(left, self._look)

    return ClosingIdle
