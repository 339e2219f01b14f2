"""Where the gateway's routes come from: its own disk, the releases topic, the api. Which of two routes wins is not decided here.

In: places to read. Out: Route values, and the wire form of a Route, which the topic, the api and the admin port share.
"""

import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import aiohttp
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from flywheel.errors import CannotRun, FlywheelError, InvalidInput
from flywheel.ids import AdapterName, WorkloadId
from flywheel.rollout.release import Route
from flywheel.traffic.inference import Arm
from services.adapters.kafka_topics import KafkaAccess

API_TIMEOUT_SECONDS = 3.0


def to_wire(route: Route) -> dict[str, object]:
    """JSON values, one key per field."""
    return {
        "workload": route.workload,
        "alias": route.alias,
        "version": route.version,
        "champion": route.champion,
        "challenger": route.challenger,
        "challenger_arm": route.challenger_arm.value if route.challenger_arm is not None else None,
        "share": route.share,
        "salt": route.salt,
        "changed_at": route.changed_at.isoformat() if route.changed_at is not None else None,
    }


def from_wire(value: object) -> Route:
    """Raises InvalidInput with the key that does not fit."""
    if not isinstance(value, Mapping):
        raise _wrong("", value, "must be a JSON object")
    for key, kind in (("workload", str), ("alias", str), ("version", int), ("champion", str)):
        if not isinstance(value.get(key), kind) or isinstance(value.get(key), bool) or value[key] in ("", 0):
            raise _wrong(key, value.get(key), "must be there")
    challenger, arm, share, changed_at = (value.get(key) for key in ("challenger", "challenger_arm", "share", "changed_at"))
    if challenger is not None and (not isinstance(challenger, str) or not challenger):
        raise _wrong("challenger", challenger, "must be a name or null")
    if arm not in (None, Arm.SHADOW.value, Arm.CANARY.value, Arm.HOLD_BACK.value):
        raise _wrong("challenger_arm", arm, "must be shadow, canary, hold_back or null")
    if share is None:
        share = 0.0
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise _wrong("share", share, "must be a number from 0 to 1")
    try:
        moment = datetime.fromisoformat(str(changed_at)) if changed_at is not None else None
    except ValueError:
        raise _wrong("changed_at", changed_at, "must be a time in RFC 3339") from None
    return Route(
        workload=WorkloadId(value["workload"]),
        alias=value["alias"],
        version=value["version"],
        champion=AdapterName(value["champion"]),
        challenger=AdapterName(challenger) if challenger is not None else None,
        challenger_arm=Arm(arm) if arm is not None else None,
        share=float(share),
        salt=str(value.get("salt") or ""),
        changed_at=moment,
    )


class NoRoutes(FlywheelError):
    """The api is down, or answered something else. Nothing follows from that."""


class RouteFiles:
    """The last routes in force, one file per workload: with everything else down, users are served by these."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, route: Route) -> None:
        """Written beside and renamed, so that a kill leaves the old file or the new one."""
        self._directory.mkdir(parents=True, exist_ok=True)
        descriptor, made = tempfile.mkstemp(dir=self._directory, prefix=f".{route.workload}-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(orjson.dumps(to_wire(route), option=orjson.OPT_INDENT_2))
                file.flush()
                os.fsync(file.fileno())
            os.replace(made, self._directory / f"{route.workload}.json")
        except OSError:
            Path(made).unlink(missing_ok=True)
            raise

    def load(self) -> tuple[Sequence[Route], Sequence[str]]:
        """The routes, and a sentence for each file that cannot be read."""
        routes, unreadable = [], []
        for path in sorted(self._directory.glob("*.json")):
            try:
                routes.append(from_wire(orjson.loads(path.read_bytes())))
            except (OSError, orjson.JSONDecodeError, InvalidInput) as error:
                unreadable.append(f"{path}: {error}")
        return routes, unreadable


class ApiRoutes:
    """``GET /v1/routes``."""

    def __init__(self, *, api_url: str, key: str) -> None:
        self._url, self._headers = f"{api_url}/v1/routes", {"Authorization": f"Bearer {key}"}

    async def read(self, session: aiohttp.ClientSession) -> Sequence[Route]:
        """Raises NoRoutes when the api does not answer, InvalidInput when it answers nonsense."""
        timeout = aiohttp.ClientTimeout(total=API_TIMEOUT_SECONDS)
        try:
            async with session.get(self._url, headers=self._headers, timeout=timeout) as answer:
                answer.raise_for_status()
                content = orjson.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
            raise NoRoutes(f"the api gives no routes: {error!r}"[:300], where=self._url, remedy="The last routes stay in force.") from error
        listed = content.get("routes") if isinstance(content, Mapping) else content
        if not isinstance(listed, list):
            raise _wrong("routes", type(content).__name__, "must be a list")
        return [from_wire(one) for one in listed]


class TopicRoutes:
    """The releases topic, partition 0 taken by hand: a group would take seconds to form, and every gateway needs every route."""

    def __init__(self, *, access: KafkaAccess, topic: str) -> None:
        self._access, self._topic = access, topic

    async def follow(self) -> AsyncIterator[Route | InvalidInput]:
        """From the beginning, then as they come; an unreadable event is yielded as its error. Raises CannotRun."""
        consumer = AIOKafkaConsumer(
            group_id=None, enable_auto_commit=False, auto_offset_reset="earliest", metadata_max_age_ms=30_000, **self._access.options()
        )
        try:
            await consumer.start()
            partition = TopicPartition(self._topic, 0)
            consumer.assign([partition])
            consumer.seek(partition, 0)  # not seek_to_beginning: that asks for offsets, which the embedded broker answers wrongly
            async for record in consumer:
                if record.value is not None:  # a tombstone says nothing
                    yield _read(record.value)
        except (KafkaError, OSError) as error:
            raise CannotRun(
                f"the releases topic cannot be read: {error}",
                where="kafka.bootstrap",
                value=self._access.bootstrap,
                remedy="Routes still come from the api and from disk; see that the broker runs.",
            ) from error
        finally:
            await consumer.stop()


def _read(raw: bytes) -> Route | InvalidInput:
    try:
        event = orjson.loads(raw)
        return from_wire(event["data"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        return _wrong("data", None, f"is not a route event: {error!r}")
    except InvalidInput as error:
        return error


def _wrong(key: str, value: object, reason: str) -> InvalidInput:
    return InvalidInput(reason, where=f"route.{key}" if key else "route", value=value, remedy="Send a route as GET /v1/routes shows it.")
