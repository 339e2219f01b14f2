"""Which adapters a server should hold, and which it may let go.

In: the route, the releases, what the server lists. Out: names to load and names to unload. Files are never deleted here, nor
anywhere while the server lists the adapter: deleting the files of a loaded adapter ends the engine.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel.ids import BASE, AdapterName
from flywheel.plausible import check_duration, check_moment
from flywheel.rollout.release import CLOSED, Release, Route
from flywheel.rollout.rollback import rollback_target


@dataclass(frozen=True, kw_only=True)
class Slots:
    """``load`` is ordered: who serves users comes first. ``wanted``: what is or will now be loaded; ``waiting``: what has no room yet."""

    wanted: tuple[AdapterName, ...]
    load: tuple[AdapterName, ...]
    unload: tuple[AdapterName, ...]
    waiting: tuple[AdapterName, ...] = ()


def slots(
    *,
    route: Route | None,
    releases: Sequence[Release],
    listed: Collection[AdapterName],
    drain: timedelta,
    now: datetime,
    free: int | None = None,
) -> Slots:
    """Champion, challenger, rollback target, then every open release. A name that is not one of ours is left alone.

    ``free``: places that the server has left; None when that does not matter. A server that holds more than it has places for puts
    adapters out of its memory and back in while users wait.
    """
    check_moment(now, where="now")
    check_duration(drain, where="drain")
    first: list[AdapterName | None] = []
    if route is not None:
        first = [route.champion, route.challenger, rollback_target(route=route, releases=releases)]
    open_ones = [release.adapter for release in sorted(releases, key=lambda release: release.since) if release.state not in CLOSED]
    named = tuple(dict.fromkeys(name for name in [*first, *open_ones] if name is not None and name != BASE))
    missing = tuple(name for name in named if name not in listed)
    load, waiting = (missing, ()) if free is None else (missing[: max(0, free)], missing[max(0, free) :])
    drained = [  # requests in flight still name it for a while
        release.adapter for release in releases if release.state in CLOSED and now - release.since >= drain
    ]
    return Slots(
        wanted=tuple(name for name in named if name not in waiting),
        load=load,
        unload=tuple(name for name in drained if name in listed and name not in named),
        waiting=waiting,
    )
