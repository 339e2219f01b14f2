"""The envelope of every event that Flywheel produces: CloudEvents 1.0 in structured JSON."""

from collections.abc import Mapping
from datetime import UTC, datetime

import orjson

SOURCE = "flywheel/daemon"
GATEWAY = "flywheel/gateway"
"""The source of the gateway's traffic events."""


def encode(
    *, type: str, id: str, workload: str, time: datetime, data: Mapping[str, object], partitionkey: str = "", source: str = SOURCE
) -> bytes:
    """The event as one JSON object. It is not validated here: every reader validates."""
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": type,
        "time": rfc3339(time),
        "subject": workload,
        "datacontenttype": "application/json",
        "data": data,
    }
    if partitionkey:
        event["partitionkey"] = partitionkey
    return orjson.dumps(event)


def source_of(event: bytes) -> str:
    """Who made an event that was decoded before."""
    return str(orjson.loads(event)["source"])


def rfc3339(moment: datetime) -> str:
    """UTC, microseconds, with Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
