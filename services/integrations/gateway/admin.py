"""Pushes routes to the gateways' admin ports, and reads the versions in force there and what they have counted.

In: routes. Out: what each gateway that answers says. One that does not answer reads the route from topic, api or disk later.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx

from flywheel.ids import WorkloadId
from flywheel.rollout.release import Route
from services.ports.route_on_the_wire import to_wire

Answer = TypeVar("Answer")
TIMEOUT_SECONDS = 2.0
AT_ONCE = 16


class GatewayAdmin:
    """Gateways on HTTP, named by their URL. ``key`` is the daemon's internal key."""

    def __init__(self, *, urls: Sequence[str], key: str) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._client = httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_SECONDS, trust_env=False)

    def applied_versions(self, workload: WorkloadId) -> Mapping[str, int]:
        return {url: version for url, version in self._each(lambda url: self._version(url, workload)) if version is not None}

    def requests(self, workload: WorkloadId) -> Mapping[str, int]:
        answers = [
            answer for _, answer in self._each(lambda url: self._content("GET", f"{url}/admin/requests", None)) if answer is not None
        ]
        counted = [counts for answer in answers if isinstance(counts := answer.get(workload), dict)]
        return {name: sum(_whole(counts.get(name)) or 0 for counts in counted) for name in ("with_session", "without_session")}

    def push(self, route: Route) -> Mapping[str, bool]:
        return {url: version is not None and version >= route.version for url, version in self._each(lambda url: self._push_to(url, route))}

    def _each(self, ask: Callable[[str], Answer]) -> list[tuple[str, Answer]]:
        """Asks all at once: a gateway that hangs must not delay a rollback on the others."""
        with ThreadPoolExecutor(max_workers=min(AT_ONCE, max(1, len(self._urls)))) as pool:
            return list(zip(self._urls, pool.map(ask, self._urls), strict=True))

    def _version(self, url: str, workload: WorkloadId) -> int | None:
        content = self._content("GET", f"{url}/admin/routes", None)
        return _whole(content.get(workload, 0)) if content is not None else None

    def _push_to(self, url: str, route: Route) -> int | None:
        content = self._content("PUT", f"{url}/admin/route", to_wire(route))
        return _whole(content.get("applied")) if content is not None else None

    def _content(self, method: str, url: str, body: Mapping[str, object] | None) -> Mapping[str, Any] | None:
        try:
            answer = self._client.request(method, url, json=body)
            content = answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError):
            return None
        return content if isinstance(content, dict) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
