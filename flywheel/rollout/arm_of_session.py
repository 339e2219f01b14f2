"""Which arm answers a session.

In: the route and the session. Out: an adapter and its arm, always the same for the same session and release.
"""

from flywheel.ids import AdapterName, unit_interval
from flywheel.rollout.release import Route
from flywheel.traffic.inference import Arm


def arm_for(*, route: Route, session: str) -> tuple[AdapterName, Arm]:
    """Sticky: a growing share only adds sessions to the canary, because the session's number never changes.

    The holdout takes sessions from the other end: who was on the canary keeps the adapter when it becomes the champion.
    """
    if route.challenger is not None and route.challenger_arm in (Arm.CANARY, Arm.HOLDOUT):
        number = unit_interval(route.salt, encodable(session))
        if number < route.share if route.challenger_arm is Arm.CANARY else number >= 1 - route.share:
            return route.challenger, route.challenger_arm
    return route.champion, Arm.CHAMPION


def encodable(session: str) -> str:
    """The session's name as text that UTF-8 can encode, so that a user whose header holds other bytes is still answered."""
    return str(session).encode(errors="backslashreplace").decode()
