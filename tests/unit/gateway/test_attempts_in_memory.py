"""Attempts between the event loop and the threads that write and redact them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.gateway.attempts_in_memory import AttemptQueue, Held

LONG = 60.0  # seconds, longer than the test may take


@pytest.mark.parametrize("_", range(20))
def test_attempts_are_gathered_until_there_are_enough(_: int) -> None:
    queue = AttemptQueue()
    with ThreadPoolExecutor(1) as thread:
        taken = thread.submit(queue.take, 3, gather_seconds=LONG)
        for _ in range(3):
            queue.put(Held(size=1))
        assert len(taken.result(LONG / 2)) == 3


def test_an_answer_that_waits_ends_the_gathering() -> None:
    queue, loop = AttemptQueue(), asyncio.new_event_loop()
    with ThreadPoolExecutor(1) as thread:
        taken = thread.submit(queue.take, 3, gather_seconds=LONG)
        queue.put(Held(size=1))
        queue.put(Held(size=1, written=loop.create_future()))
        assert taken.result(LONG / 2)
    loop.close()


def test_a_closed_queue_is_not_waited_for() -> None:
    queue = AttemptQueue()
    with ThreadPoolExecutor(1) as thread:
        taken = thread.submit(queue.take, 3, gather_seconds=LONG)
        queue.put(Held(size=1))
        queue.close()
        assert len(taken.result(LONG / 2)) == 1
