"""A Route as JSON: the form that the releases topic, the api, the gateways' admin ports and their files share."""

from collections.abc import Mapping
from datetime import datetime

from flywheel.errors import InvalidInput
from flywheel.ids import AdapterName, WorkloadId
from flywheel.rollout.release import Route
from flywheel.traffic.inference import Arm


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
        raise wrong_route("", value, "must be a JSON object")
    for key, kind in (("workload", str), ("alias", str), ("version", int), ("champion", str)):
        if not isinstance(value.get(key), kind) or isinstance(value.get(key), bool) or value[key] in ("", 0):
            raise wrong_route(key, value.get(key), "must be there")
    challenger, arm, share, changed_at = (value.get(key) for key in ("challenger", "challenger_arm", "share", "changed_at"))
    if challenger is not None and (not isinstance(challenger, str) or not challenger):
        raise wrong_route("challenger", challenger, "must be a name or null")
    if arm not in (None, Arm.SHADOW.value, Arm.CANARY.value, Arm.HOLD_BACK.value):
        raise wrong_route("challenger_arm", arm, "must be shadow, canary, hold_back or null")
    if share is None:
        share = 0.0
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise wrong_route("share", share, "must be a number from 0 to 1")
    try:
        moment = datetime.fromisoformat(str(changed_at)) if changed_at is not None else None
    except ValueError:
        raise wrong_route("changed_at", changed_at, "must be a time in RFC 3339") from None
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


def wrong_route(key: str, value: object, reason: str) -> InvalidInput:
    """The error of a route whose ``key`` does not fit."""
    return InvalidInput(reason, where=f"route.{key}" if key else "route", value=value, remedy="Send a route as GET /v1/routes shows it.")
