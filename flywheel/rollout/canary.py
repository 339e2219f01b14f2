"""Which arm answers a session.

In: the route and the session. Out: an adapter and its arm, always the same for the same session and release.
"""

from flywheel.ids import AdapterName, unit_interval
from flywheel.rollout.release import Route
from flywheel.traffic.inference import Arm


def arm_for(*, route: Route, session: str) -> tuple[AdapterName, Arm]:
    """Sticky: a growing share only adds sessions to the canary, because the session's number never changes."""
    if route.challenger is not None and route.challenger_arm is Arm.CANARY and unit_interval(route.salt, session) < route.share:
        return route.challenger, Arm.CANARY
    return route.champion, Arm.CHAMPION
