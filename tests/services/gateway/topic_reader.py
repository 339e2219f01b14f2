"""Reads the traffic topic while a test runs."""

import json
import threading

from kafka import KafkaConsumer, TopicPartition

SPEC = {
    "topics": {"traffic": {"partitions": 2, "retention_days": 1, "cleanup": "delete"}},
    "dead_letters": {"suffix": ".dlq", "partitions": 1, "retention_days": 1},
}
TOPIC = "flywheel.traffic.v1"


class TopicReader(threading.Thread):
    """Reads the topic of one broker's life; ``ids`` gets the event ids. Ends with ``stop``."""

    def __init__(self, bootstrap: str, ids: set[str]) -> None:
        super().__init__(daemon=True)
        self._address, self._ids, self._over = bootstrap, ids, threading.Event()
        self.read: list[str] = []

    def run(self) -> None:
        consumer = KafkaConsumer(bootstrap_servers=self._address)
        consumer.assign([TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)])
        consumer.seek_to_beginning()
        while not self._over.is_set():
            for records in consumer.poll(timeout_ms=200).values():
                ids = [json.loads(record.value)["id"] for record in records]
                self.read += ids
                self._ids.update(ids)
        consumer.close()

    def stop(self) -> None:
        self._over.set()
        self.join()
