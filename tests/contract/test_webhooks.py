"""Signed notices, at a receiver that checks them the way the Standard Webhooks specification says."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flywheel.alerts.alert import Alert
from flywheel.alerts.lifecycle import AlertPolicy, advance
from flywheel.alerts.notifications import NotDelivered, RefusedForGood
from flywheel.errors import InvalidSettings
from services.integrations.webhooks.notifier import WebhookNotifier, signature, signing_key
from tests.watching import NOON, ROUTER, finding_of, verdict


class Receiver(ThreadingHTTPServer):
    """Answers ``status`` and keeps what came."""

    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Desk)
        self.came: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook/secret-path"


class Desk(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def alert() -> Alert:
    finding = finding_of(workload=ROUTER, window="w", at=NOON, verdicts=[verdict()], protected=())
    opened = advance(alert=None, finding=finding, policy=AlertPolicy(), now=NOON).alert
    assert opened is not None
    return opened


def test_a_notice_is_signed_over_id_time_and_body(receiver: Receiver) -> None:
    key = b"0123456789abcdef"
    secret = "whsec_" + base64.b64encode(key).decode()
    assert WebhookNotifier(receiver.url, secret=secret).notify(alert(), kind="firing") == "HTTP 200"
    ((headers, body),) = receiver.came
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    told = json.loads(body)
    assert told["type"] == "flywheel.alert.firing"
    assert told["data"]["first_action"]


def test_a_known_signature() -> None:
    """The example of the Standard Webhooks specification's reference libraries."""
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature(key, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp="1614265330", body=b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_second_attempt_carries_the_same_id(receiver: Receiver) -> None:
    notifier = WebhookNotifier(receiver.url)
    for _ in range(2):
        notifier.notify(alert(), kind="firing")
    notifier.notify(alert(), kind="resolved")
    first, second, other = (headers["webhook-id"] for headers, _ in receiver.came)
    assert first == second != other


@pytest.mark.parametrize("status", [302, 404, 503])
def test_a_receiver_that_refuses_must_be_tried_again(receiver: Receiver, status: int) -> None:
    receiver.status = status
    with pytest.raises(NotDelivered, match=f"HTTP {status}") as caught:
        WebhookNotifier(receiver.url).notify(alert(), kind="firing")
    assert "secret-path" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_notification_that_is_refused_for_good_is_not_tried_again(receiver: Receiver, status: int) -> None:
    receiver.status = status
    with pytest.raises(RefusedForGood, match=f"HTTP {status}") as caught:
        WebhookNotifier(receiver.url).notify(alert(), kind="firing")
    assert "secret-path" not in str(caught.value)


def test_nobody_there_must_be_tried_again() -> None:
    with Receiver() as gone:
        url = gone.url
    with pytest.raises(NotDelivered):
        WebhookNotifier(url).notify(alert(), kind="firing")


def test_a_secret_that_is_not_base64_is_refused_at_start() -> None:
    with pytest.raises(InvalidSettings, match="base64"):
        WebhookNotifier("http://127.0.0.1:9/", secret="whsec_@@@")
