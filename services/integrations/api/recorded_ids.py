"""Asks the api which events are recorded, so that the gateway can delete them from its spool.

In: event ids. Out: those that are recorded. Raises NoAnswer when the api does not answer; the events stay in the spool then.
"""

from collections.abc import Sequence

import httpx

from flywheel.errors import FlywheelError

TIMEOUT_SECONDS = 5.0


class NoAnswer(FlywheelError):
    """The api is down, or answered something else."""


class RecordedIds:
    """One connection, kept open; used by one thread."""

    def __init__(self, *, api_url: str, key: str) -> None:
        # trust_env=False: a proxy in the environment must not stand between two processes of one host
        self._client = httpx.Client(base_url=api_url, timeout=TIMEOUT_SECONDS, headers={"Authorization": f"Bearer {key}"}, trust_env=False)

    def recorded(self, ids: Sequence[str]) -> frozenset[str]:
        try:
            answer = self._client.post("/v1/recorded", json={"ids": list(ids)})
            answer.raise_for_status()
            return frozenset(str(one) for one in answer.json()["recorded"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise NoAnswer(
                f"the api does not say what is recorded: {error!r}"[:300],
                where="POST /v1/recorded",
                remedy="The events stay in the gateway's spool; see whether the api runs.",
            ) from error

    def close(self) -> None:
        self._client.close()
