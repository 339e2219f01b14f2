"""The gateway is killed with signal 9 right after an answer, and while it starts: every answered request reaches the topic."""

import threading
import time
from pathlib import Path

import httpx
import pytest
import yaml
from gateway_parts import until
from test_gateway_process import ROUTE, configuration, reached, started
from topic_reader import SPEC, TOPIC, TopicReader

from services.integrations.kafka.topics import KafkaAccess, create_topics
from services.stores.route_files import RouteFiles
from tests.brokers import running_broker
from tests.fakes.vllm_server import FakeVllm

HEAD = {"Authorization": "Bearer secret"}


class Users:
    """Four of them ask without a pause, each second request streamed; ``answered`` has the ids of whole answers."""

    def __init__(self, url: str) -> None:
        self._url, self._over = f"{url}/v1/chat/completions", threading.Event()
        self.answered: list[str] = []
        self.first = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(4)]
        for thread in self._threads:
            thread.start()

    def _ask(self, number: int) -> None:
        asked = number
        with httpx.Client(trust_env=False, timeout=30, headers=HEAD) as client:
            while not self._over.is_set():
                asked += 1
                body = {
                    "model": "router-alias",
                    "messages": [{"role": "user", "content": f"write to user{asked}@example.org"}],
                    "stream": asked % 2 == 0,
                }
                try:
                    self._one(client, body)
                except httpx.TransportError:  # not listening yet, or killed in the middle: not answered
                    time.sleep(0.01)

    def _one(self, client: httpx.Client, body: object) -> None:
        with client.stream("POST", self._url, json=body) as answer:
            last = b""
            for piece in answer.iter_raw():
                last = (last + piece)[-64:]
                if b"data: [DONE]" in last:  # what a client waits for
                    self._note(answer)
                    return
            assert answer.status_code == 200, last
            self._note(answer)

    def _note(self, answer: httpx.Response) -> None:
        self.answered.append(answer.headers["X-Flywheel-Request"])
        self.first.set()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.broker
def test_no_answered_request_is_lost_when_the_gateway_is_killed(tmp_path: Path) -> None:
    RouteFiles(tmp_path / "var" / "routes").save(ROUTE)
    answered: list[str] = []
    with FakeVllm(answers=lambda model, messages: "yes") as vllm, running_broker(tmp_path) as bootstrap:
        create_topics(KafkaAccess(bootstrap=bootstrap), names={"traffic": TOPIC}, spec=SPEC, replication=1)
        config = configuration(tmp_path, vllm.url)
        settings = yaml.safe_load(config.read_text())
        config.write_text(yaml.safe_dump({**settings, "kafka": {"bootstrap": bootstrap}}))
        for seconds in (0.0, 0.01, 0.3, 1.0):  # the first ones fall into the start, while the redactor is not there yet
            with started(config) as (process, url):
                users = Users(url)
                users.first.wait()
                time.sleep(seconds)
                process.kill()
                users.stop()
                answered += users.answered
        ids: set[str] = set()
        reader = TopicReader(bootstrap, ids)
        reader.start()
        wanted = {f"{one}-1" for one in answered}
        print(f"{len(wanted)} answered")
        with started(config) as (_, url):
            reached(f"{url}/readyz")
            until(lambda: wanted <= ids, told=lambda: f"{len(wanted - ids)} of {len(wanted)} missing")
            until(lambda: not list((tmp_path / "var" / "spool" / "sealed").iterdir()))
        reader.stop()
    assert len(wanted) == len(answered)
    print(f"{len(reader.read) - len(ids)} sent more than once: the recorder counts them once, by their ids")
