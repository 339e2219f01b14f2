"""The routes that the api publishes, as the gateway reads them."""

import ssl
from collections.abc import Callable, Mapping, Sequence

import aiohttp
import orjson

from flywheel.errors import FlywheelError, InvalidInput
from flywheel.rollout.release import Route
from services.ports.route_on_the_wire import from_wire

API_TIMEOUT_SECONDS = 3.0


class NoRoutes(FlywheelError):
    """The api is down, or answered something else. Routes stay as they are."""


class ApiRoutes:
    """``GET /v1/routes``. ``tls``: what is trusted, where the URL is https."""

    def __init__(self, *, api_url: str, key: str, tls: Callable[[], ssl.SSLContext | None] = lambda: None) -> None:
        self._tls = tls
        self._url, self._headers = f"{api_url}/v1/routes", {"Authorization": f"Bearer {key}"}

    async def read(self, session: aiohttp.ClientSession) -> Sequence[Route]:
        """Raises NoRoutes when the api does not answer, InvalidInput when its answer is no list of routes."""
        timeout = aiohttp.ClientTimeout(total=API_TIMEOUT_SECONDS)
        try:
            async with session.get(self._url, headers=self._headers, timeout=timeout, ssl=self._tls() or True) as answer:
                answer.raise_for_status()
                content = orjson.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
            raise NoRoutes(f"the api gives no routes: {error!r}"[:300], where=self._url, remedy="The last routes stay in force.") from error
        listed = content.get("routes") if isinstance(content, Mapping) else content
        if not isinstance(listed, list):
            raise InvalidInput(
                "must hold a list of routes", where=self._url, value=type(content).__name__, remedy="See that the api runs there."
            )
        return [from_wire(route) for route in listed]
