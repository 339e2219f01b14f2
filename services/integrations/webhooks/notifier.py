"""Sends signed notifications to a URL, with the headers of Standard Webhooks (https://www.standardwebhooks.com), version 1, symmetric.

In: an alert and the kind of notification. Out: the receiver's answer. Every attempt has the same id, so that a receiver can drop
repetitions. The alert service decides when to try again.
"""

import base64
import binascii
import hashlib
import hmac
from datetime import UTC, datetime

import httpx
import orjson

from flywheel.alerts.alert import Alert
from flywheel.alerts.notifications import NotDelivered, RefusedForGood
from flywheel.errors import InvalidSettings
from flywheel.ids import derive
from services.ports.cloud_events import rfc3339

TIMEOUT_SECONDS = 5.0  # for each of connecting, sending, waiting
REFUSALS = (400, 413, 415, 422)  # of this notification; other errors are of the receiver or its settings, and may pass
PREFIX = "whsec_"


class WebhookNotifier:
    """One receiver. Without a secret the notification is unsigned."""

    def __init__(self, url: str, *, secret: str | None = None) -> None:
        self._url = url
        self._key = signing_key(secret) if secret else None

    def notify(self, alert: Alert, *, kind: str) -> str:
        body = orjson.dumps(notification(alert, kind=kind))
        message_id = derive("notice", alert.id, kind, self._url)
        stamp = str(int(datetime.now(UTC).timestamp()))
        headers = {"Content-Type": "application/json", "webhook-id": message_id, "webhook-timestamp": stamp}
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key, message_id=message_id, timestamp=stamp, body=body)
        try:
            answer = httpx.post(self._url, content=body, headers=headers, timeout=TIMEOUT_SECONDS, follow_redirects=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._not_delivered(f"{type(error).__name__}: {error}") from error
        if answer.status_code in REFUSALS:
            raise RefusedForGood(f"HTTP {answer.status_code}", where=self._host(), remedy="Nothing is sent again; see the receiver's log.")
        if not answer.is_success:
            raise self._not_delivered(f"HTTP {answer.status_code}")
        return f"HTTP {answer.status_code}"

    def _not_delivered(self, reason: str) -> NotDelivered:
        return NotDelivered(reason, where=self._host(), remedy="It is tried again; see that the receiver is up and its URL right.")

    def _host(self) -> str:
        """Not the path of the URL, which is often a secret."""
        return f"webhook {self._url.partition('://')[2].partition('/')[0].rpartition('@')[2]}"


def notification(alert: Alert, *, kind: str) -> dict[str, object]:
    """The body: what a person on call needs, without any text that a user wrote."""
    return {
        "type": f"flywheel.alert.{kind.partition('@')[0]}",
        "timestamp": rfc3339(alert.last_seen_at),
        "data": {
            "id": alert.id,
            "fingerprint": alert.fingerprint,
            "workload": alert.workload,
            "labels": dict(alert.labels),
            "severity": alert.severity.name.lower(),
            "state": alert.state.value,
            "summary": alert.message.summary,
            "first_action": alert.message.first_action,
            "runbook": alert.message.runbook,
            "started_at": rfc3339(alert.started_at),
            "resolved_at": rfc3339(alert.resolved_at) if alert.resolved_at else None,
            "acknowledged_by": alert.acknowledgement.by if alert.acknowledgement else None,
        },
    }


def signature(key: bytes, *, message_id: str, timestamp: str, body: bytes) -> str:
    """``v1,<base64 of HMAC-SHA256 over id.timestamp.body>``."""
    signed = b".".join([message_id.encode(), timestamp.encode(), body])
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def signing_key(secret: str) -> bytes:
    """The bytes of ``whsec_<base64>``; any other text is used as it is."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise InvalidSettings(
            "what follows whsec_ is not base64", where="alerts.webhooks.secret_file", remedy="Copy the secret once more."
        ) from error
