"""What a server should hold."""

from datetime import timedelta

from flywheel.ids import BASE, AdapterName
from flywheel.rollout.desired_adapters import Slots, slots
from flywheel.rollout.release import Release, ReleaseState, Route
from tests.unit.rollout.release_stories import NEW, NOW, OLD, release, route

DRAIN = timedelta(seconds=60)
BAD = AdapterName("router-bad")


def plan(where: Route | None, releases: list[Release], listed: set[str], free: int | None = None) -> Slots:
    return slots(route=where, releases=releases, listed={AdapterName(name) for name in listed}, drain=DRAIN, now=NOW, free=free)


def test_champion_and_rollback_target_come_before_open_releases() -> None:
    releases = [
        release(ReleaseState.REGISTERED, adapter=BAD),
        release(ReleaseState.LIVE, replaced=OLD),
        release(ReleaseState.RETIRED, adapter=OLD),
    ]
    assert plan(route(champion=NEW), releases, {OLD}).wanted == (NEW, OLD, BAD)
    assert plan(route(champion=NEW), releases, {OLD}).load == (NEW, BAD)


def test_a_closed_release_is_unloaded_after_its_drain_time() -> None:
    releases = [
        release(ReleaseState.LIVE, replaced=OLD),
        release(ReleaseState.RETIRED, adapter=OLD),
        release(ReleaseState.ROLLED_BACK, adapter=BAD, since=NOW - timedelta(seconds=59)),
    ]
    assert plan(route(champion=NEW), releases, {NEW, OLD, BAD}).unload == ()
    releases[2] = release(ReleaseState.ROLLED_BACK, adapter=BAD, since=NOW - timedelta(seconds=60))
    assert plan(route(champion=NEW), releases, {NEW, OLD, BAD}).unload == (BAD,)


def test_a_name_that_is_not_ours_is_left_alone() -> None:
    assert plan(route(), [], {"somebody-elses"}).unload == ()


def test_what_a_route_still_names_is_never_unloaded() -> None:
    closed = release(ReleaseState.ROLLED_BACK, since=NOW - timedelta(days=1))
    assert plan(route(champion=NEW), [closed], {NEW}).unload == ()


def test_the_base_is_never_loaded() -> None:
    assert BASE not in plan(route(), [], set()).load
    assert plan(None, [], set()) == Slots(wanted=(), load=(), unload=())


def test_without_free_lora_slots_open_releases_wait() -> None:
    releases = [
        release(ReleaseState.REGISTERED, adapter=BAD),
        release(ReleaseState.LIVE, replaced=OLD),
        release(ReleaseState.RETIRED, adapter=OLD),
    ]
    found = plan(route(champion=NEW), releases, {OLD}, free=1)
    assert (found.wanted, found.load, found.waiting) == ((NEW, OLD), (NEW,), (BAD,))
    assert plan(route(champion=NEW), releases, {OLD, NEW}, free=-1).waiting == (BAD,)
    assert plan(route(champion=NEW), releases, {OLD, NEW, BAD}, free=0).wanted == (NEW, OLD, BAD)
