"""What keeps exchanges from being recorded at the moment: for the health answer, a metric, and a line in the log a minute."""

import time

import structlog
from prometheus_client import Gauge

log = structlog.get_logger()
SAY_SECONDS = 60.0
STANDS = Gauge(
    "flywheel_gateway_capture_waits",
    "1 while exchanges wait: in memory for the disk, sealed for the redactor or the spool, on disk for the broker or the api",
    ["on"],
)


class Trouble:
    """``on``: disk, spool or broker. ``said`` and ``over``: the sentences of the log."""

    def __init__(self, on: str, *, said: str, over: str) -> None:
        self._on, self._said, self._over = on, said, over
        self._last, self._times = -SAY_SECONDS, 0
        self._logged = False
        self.reason: str | None = None
        STANDS.labels(on).set(0)

    def tell(self, reason: str | None, **more: int) -> None:
        """None: it is over. The same again is counted, and logged once a minute."""
        now = time.monotonic()
        if reason is None:
            if self._logged:
                log.info(self._over, action="capture_goes_on", waited_for=self._on)
            self._times, self._logged = 0, False
        else:
            self._times += 1
            if now - self._last >= SAY_SECONDS:
                log.warning(self._said, action="capture_waits", waits_for=self._on, error=reason, times=self._times, **more)
                self._last, self._logged = now, True
        self.reason = reason
        STANDS.labels(self._on).set(reason is not None)
