"""A Route as JSON: the form of the releases topic, the api, the gateways' admin ports and the gateways' own files."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flywheel.errors import InvalidInput, shortened
from flywheel.ids import AdapterName, WorkloadId
from flywheel.rollout.release import Route
from flywheel.traffic.inference import Arm
from services.ports.wire_schema import check_schema

SCHEMA = "releases/route.v1"
REMEDY = "Send a route as GET /v1/routes shows it."


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
    """The route of a JSON value; raises InvalidInput with the path that does not fit ``schemas/releases/route.v1.json``."""
    check_schema(value, SCHEMA, at="route", remedy=REMEDY)
    assert isinstance(value, Mapping)
    data: Mapping[str, Any] = value
    challenger, arm = data["challenger"], data["challenger_arm"]
    return Route(
        workload=WorkloadId(data["workload"]),
        alias=data["alias"],
        version=int(data["version"]),
        champion=AdapterName(data["champion"]),
        challenger=AdapterName(challenger) if challenger is not None else None,
        challenger_arm=Arm(arm) if arm is not None else None,
        share=float(data["share"]),
        salt=data["salt"],
        changed_at=_moment(data["changed_at"]),
    )


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text is not None else None
    except ValueError:
        raise InvalidInput("must be a time in RFC 3339", where="route.changed_at", value=shortened(text), remedy=REMEDY) from None
