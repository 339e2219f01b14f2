"""Kafka: topics, producers, consumers, the event codec and the embedded development broker."""
