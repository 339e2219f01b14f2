"""Asks the api which events are recorded, so that the gateway can delete them from its spool.

In: event ids. Out: those that are recorded. Raises NoAnswer when the api does not answer; the events stay in the spool then.
"""

import ssl
from collections.abc import Callable, Sequence

import httpx

from flywheel.errors import FlywheelError

TIMEOUT_SECONDS = 5.0


class NoAnswer(FlywheelError):
    """The api is down, or answered something else."""


class RecordedIds:
    """One connection, kept open; used by one thread."""

    def __init__(self, *, api_url: str, key: str, tls: Callable[[], ssl.SSLContext | None] = lambda: None) -> None:
        """``tls``: what is trusted, where the URL is https."""
        self._url, self._headers, self._tls = api_url, {"Authorization": f"Bearer {key}"}, tls
        self._trusted: ssl.SSLContext | None = None
        self._client: httpx.Client | None = None

    def recorded(self, ids: Sequence[str]) -> frozenset[str]:
        try:
            answer = self._connected().post("/v1/recorded", json={"ids": list(ids)})
            answer.raise_for_status()
            return frozenset(str(one) for one in answer.json()["recorded"])
        except (httpx.HTTPError, FlywheelError, ValueError, KeyError, TypeError) as error:  # FlywheelError: of the certificate
            raise NoAnswer(
                f"the api does not say what is recorded: {error!r}"[:300],
                where="POST /v1/recorded",
                remedy="The events stay in the gateway's spool; see whether the api runs.",
            ) from error

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _connected(self) -> httpx.Client:
        trusted = self._tls()
        if self._client is None or trusted is not self._trusted:
            self.close()
            verify: ssl.SSLContext | bool = trusted or True
            # trust_env=False: a proxy in the environment must not stand between two processes of one host
            self._client = httpx.Client(base_url=self._url, timeout=TIMEOUT_SECONDS, headers=self._headers, trust_env=False, verify=verify)
            self._trusted = trusted
        return self._client
