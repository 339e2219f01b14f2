"""Limits of requests: how many a minute, how many tokens a minute, how many at once; for each token and for each workload.

In: the limits of the settings, who asks, the time. Out: a place for the request, or TooManyRequests with the seconds to wait. A minute's
worth may be used at once; it comes back evenly. Tokens are taken when they are known, after the answer: one request may overdraw, the
next ones wait.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from prometheus_client import Counter

from flywheel.errors import FlywheelError
from services.settings.sections import Limits

LIMITED = Counter("flywheel_requests_limited_total", "Requests refused by a limit", ["of", "limit"])
IN_FLIGHT_SECONDS = 1.0  # when to try again where too many are under way: nobody knows


class TooManyRequests(FlywheelError):
    """A limit is reached. ``retry_after``: seconds, at least 1."""

    def __init__(self, reason: str, *, where: str, retry_after: int) -> None:
        super().__init__(reason, where=where, remedy=f"Try again in {retry_after} s.")
        self.retry_after = retry_after


class RequestLimiter:
    """``share``: so many processes take the requests evenly, and each allows its part."""

    def __init__(
        self,
        *,
        tokens: Mapping[str, Limits],
        workloads: Mapping[str, Limits],
        share: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = {name: _Subject("token", name, limits, share, clock()) for name, limits in tokens.items()}
        self._workloads = {name: _Subject("workload", name, limits, share, clock()) for name, limits in workloads.items()}
        self._clock = clock

    @contextmanager
    def held(self, *, client: str, workload: str | None = None) -> Iterator[None]:
        """A place for one request, as long as it is under way. Raises TooManyRequests."""
        subjects, now = self._subjects(client, workload), self._clock()
        for subject in subjects:
            subject.require(now)
        for subject in subjects:
            subject.take(now)
        try:
            yield
        finally:
            for subject in subjects:
                subject.under_way -= 1

    def spent(self, tokens: int, *, client: str, workload: str | None = None) -> None:
        """Takes the tokens that a request used."""
        now = self._clock()
        for subject in self._subjects(client, workload):
            subject.tokens.take(tokens, now)

    def _subjects(self, client: str, workload: str | None) -> Sequence["_Subject"]:
        found = (self._tokens.get(client), self._workloads.get(workload) if workload is not None else None)
        return [subject for subject in found if subject is not None]


class _Subject:
    """One token's or one workload's use."""

    def __init__(self, of: str, name: str, limits: Limits, share: int, now: float) -> None:
        self._of, self._name, self._limits = of, name, limits
        self._most_under_way = _part(limits.in_flight, share)
        self._requests = _Budget(_part(limits.requests_per_minute, share), now)
        self.tokens = _Budget(_part(limits.tokens_per_minute, share), now)
        self.under_way = 0

    def require(self, now: float) -> None:
        if self._most_under_way is not None and self.under_way >= self._most_under_way:
            self._refuse("in_flight", f"{self._limits.in_flight} requests are under way", IN_FLIGHT_SECONDS)
        if (wait := self._requests.seconds_until(1, now)) > 0:
            self._refuse("requests_per_minute", f"there were {self._limits.requests_per_minute} requests in a minute", wait)
        if (wait := self.tokens.seconds_until(1, now)) > 0:
            self._refuse("tokens_per_minute", f"{self._limits.tokens_per_minute} tokens were used in a minute", wait)

    def take(self, now: float) -> None:
        self._requests.take(1, now)
        self.under_way += 1

    def _refuse(self, limit: str, reason: str, wait: float) -> None:
        LIMITED.labels(self._of, limit).inc()
        raise TooManyRequests(
            f"{reason} with this {self._of}, which is its limit", where=f"{self._of} {self._name}", retry_after=max(1, math.ceil(wait))
        )


class _Budget:
    """A minute's worth, used at will and refilled evenly; None: without a bound."""

    def __init__(self, a_minute: int | None, now: float) -> None:
        self._a_minute, self._left, self._at = a_minute, float(a_minute or 0), now

    def seconds_until(self, wanted: float, now: float) -> float:
        """0 when so much is left."""
        self._refill(now)
        return 0.0 if self._a_minute is None else max(0.0, (wanted - self._left) * 60 / self._a_minute)

    def take(self, used: float, now: float) -> None:
        self._refill(now)
        self._left -= used

    def _refill(self, now: float) -> None:
        if self._a_minute is not None:
            self._left = min(float(self._a_minute), self._left + (now - self._at) * self._a_minute / 60)
        self._at = now


def _part(limit: int | None, share: int) -> int | None:
    return None if limit is None else max(1, limit // share)
