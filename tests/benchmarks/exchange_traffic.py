"""Attempts of a given size, as the gateway hands them over: what the benchmarks of capture and recording share.

In: the number of attempts and the size of their prompts. Out: attempts whose texts are random common English words, so that they compress
worse than people's own texts. ``personal``: the share of prompts with an e-mail address.
"""

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from flywheel.ids import BASE, Person, RequestId, WorkloadId
from flywheel.traffic.inference import Arm
from services.gateway.traffic_event import Reply, UpstreamAttempt

WORKLOAD = WorkloadId("router")
SEED = 13
SIZES = {"1 KB": 1_000, "50 KB": 50_000}
ANSWER_CHARACTERS = 300
NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
_COMMON_WORDS = (
    "the of and a to in is you that it he was for on are as with his they at be this have from or one had by word but not what all were we"
    " when your can said there use an each which she do how their if will up other about out many then them these so some her would make"
    " like him into time has look two more write go see number no way could people my than first water been call who oil its now find long"
    " down day did get come made may part order parcel invoice refund account delivery address payment customer ticket answer question"
)
_WORDS = _COMMON_WORDS.split()


def attempts(count: int, *, characters: int, personal: float = 0.0) -> Sequence[UpstreamAttempt]:
    """The same for the same arguments."""
    rng = random.Random(f"{SEED} {characters}")
    return [_attempt(number, rng, characters, personal=rng.random() < personal) for number in range(count)]


def text(rng: random.Random, characters: int) -> str:
    return " ".join(rng.choices(_WORDS, k=characters // 3 + 1))[:characters]


def completion(number: int, answer: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop", "logprobs": None}
    usage = {"prompt_tokens": 250, "completion_tokens": 70, "total_tokens": 320}
    head = {"id": f"chatcmpl-{number:032x}", "object": "chat.completion", "created": 1_767_614_400, "model": "base"}
    return {**head, "choices": [choice], "usage": usage}


def cpu_microseconds(act: Callable[[], object], *, events: int, times: int) -> float:
    """CPU time of this process per event; the least of so many repetitions, because other work only adds to it."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        act()
        taken.append(time.process_time() - began)
    return min(taken) / events * 1e6


def _attempt(number: int, rng: random.Random, characters: int, *, personal: bool) -> UpstreamAttempt:
    asked = text(rng, characters) + (f" Write to ann.{number}@example.com." if personal else "")
    messages = [{"role": "system", "content": "Answer in one sentence."}, {"role": "user", "content": asked}]
    answer = text(rng, ANSWER_CHARACTERS)
    return UpstreamAttempt(
        request_id=RequestId(f"{rng.getrandbits(128):032x}"),
        number=1,
        workload=WORKLOAD,
        adapter=BASE,
        arm=Arm.CHAMPION,
        session=f"session-{number // 8}",
        client=Person("app"),
        arrived_at=NOON,
        route_version=1,
        dimensions={"tenant": f"tenant-{number % 5}"},
        body={"messages": messages, "temperature": 0.2, "max_tokens": 256},
        added=(),
        reply=Reply(response=completion(number, answer), status=200, error=None, latency_ms=120.0),
    )
