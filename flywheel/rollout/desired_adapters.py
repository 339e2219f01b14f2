"""Which adapters should be loaded on a server, and which may be unloaded?

In: the route, the releases, the adapters that the server lists. Out: names to load and names to unload. No file is deleted: deleting the
files of a loaded adapter ends the engine.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel.clock import has_passed
from flywheel.ids import BASE, AdapterName
from flywheel.rollout.release import CLOSED, Release, Route
from flywheel.rollout.rollback import rollback_target


@dataclass(frozen=True, kw_only=True)
class Slots:
    """``load`` is ordered: adapters that serve users come first. ``wanted``: adapters that are or will now be loaded; ``waiting``: adapters
    without a free LoRA slot."""

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
    """Champion, challenger, rollback target, then every open release. Adapters that belong to no release stay loaded.

    ``free``: LoRA slots left on the server; None where they do not matter. A server with more adapters than slots swaps them while users
    wait. ``drain``: how long a closed release stays loaded, for requests in flight.
    """
    first: list[AdapterName | None] = []
    if route is not None:
        first = [route.champion, route.challenger, rollback_target(route=route, releases=releases)]
    open_ones = [release.adapter for release in sorted(releases, key=lambda release: release.since) if release.state not in CLOSED]
    named = tuple(dict.fromkeys(name for name in [*first, *open_ones] if name is not None and name != BASE))
    missing = tuple(name for name in named if name not in listed)
    load, waiting = (missing, ()) if free is None else (missing[: max(0, free)], missing[max(0, free) :])
    drained = [  # requests in flight still name it for a while
        release.adapter for release in releases if release.state in CLOSED and has_passed(drain, since=release.since, now=now)
    ]
    return Slots(
        wanted=tuple(name for name in named if name not in waiting),
        load=load,
        unload=tuple(name for name in drained if name in listed and name not in named),
        waiting=waiting,
    )
