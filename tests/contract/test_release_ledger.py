"""What every ReleaseLedger holds to: the one on SQL and the one in memory."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from flywheel.ids import BASE, DAEMON, AdapterName, Person, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.rollout.release import Release, ReleaseState, Route, release_id, release_line, route_line
from flywheel.traffic.inference import Arm
from schemas import schema
from services.ports.rollout import ReleaseLedger
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.outbox import LedgerOutbox
from services.stores.ledger.releases import LedgerReleases
from tests.databases import migrated_ledger
from tests.fakes.release_ledger import ReleasesInMemory

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
ROUTER = WorkloadId("router")


@dataclass
class Kept:
    """A ledger with ways to see its journal and the routes that left."""

    ledger: ReleaseLedger
    lines: Callable[[], Sequence[JournalEntry]]
    published: Callable[[], Sequence[int]]


@pytest.fixture(params=["sql", "memory"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    if request.param == "memory":
        memory = ReleasesInMemory()
        return Kept(ledger=memory, lines=lambda: memory.lines, published=lambda: [route.version for route in memory.published])
    engine = migrated_ledger(tmp_path)
    outbox = LedgerOutbox(engine)

    def published() -> Sequence[int]:
        due = outbox.due(now=NOW, resend_after=timedelta(seconds=1))
        return sorted(json.loads(message.value)["data"]["version"] for message in due)

    return Kept(ledger=LedgerReleases(engine, topic="releases"), lines=LedgerJournal(engine).entries, published=published)


def a_release(state: ReleaseState = ReleaseState.REGISTERED, *, adapter: str = "router-1", since: datetime = NOW) -> Release:
    name = AdapterName(adapter)
    return Release(id=release_id(ROUTER, name), workload=ROUTER, adapter=name, state=state, since=since, reason="made", actor=DAEMON)


def a_route(version: int = 1, *, challenger: str | None = None) -> Route:
    return Route(
        workload=ROUTER,
        alias="r-1",
        version=version,
        champion=BASE,
        challenger=AdapterName(challenger) if challenger else None,
        challenger_arm=Arm.CANARY if challenger else None,
        share=0.25 if challenger else 0.0,
        salt="salt",
        changed_at=NOW,
    )


def first(route: Route) -> JournalEntry:
    return route_line(route, actor=DAEMON, reason="first", at=NOW)


def line(release: Release) -> JournalEntry:
    return release_line(release, by="policy")


def test_a_release_comes_back_as_it_was_saved(kept: Kept) -> None:
    plain = a_release()
    full = replace(
        plain,
        step=2,
        gate="gate-1",
        overridden_by=Person("anna"),
        approved_by=Person("ben"),
        step_since=NOW + timedelta(seconds=1),
        replaced=BASE,
    )
    assert kept.ledger.save_release(plain, line(plain), expected=None)
    assert kept.ledger.release(plain.id) == plain
    assert kept.ledger.save_release(full, line(full), expected=plain)
    assert kept.ledger.release(plain.id) == full


def test_a_move_from_a_state_that_no_longer_holds_changes_nothing(kept: Kept) -> None:
    plain = a_release()
    probed = replace(plain, state=ReleaseState.PROBED)
    assert kept.ledger.save_release(plain, line(plain), expected=None)
    assert not kept.ledger.save_release(plain, line(plain), expected=None)
    assert not kept.ledger.save_release(probed, line(probed), expected=replace(plain, step=1))
    assert kept.ledger.release(plain.id) == plain
    assert len(kept.lines()) == 1


def test_a_release_and_its_route_are_saved_together_or_not_at_all(kept: Kept) -> None:
    plain = a_release(ReleaseState.SHADOW)
    canary = replace(plain, state=ReleaseState.CANARY, step_since=NOW)
    assert kept.ledger.save_release(plain, line(plain), expected=None)
    assert not kept.ledger.save_release(canary, line(canary), expected=plain, route=a_route(2, challenger="router-1"))
    assert kept.ledger.release(plain.id) == plain
    assert kept.ledger.route(ROUTER) is None
    assert kept.published() == []
    assert kept.ledger.save_release(canary, line(canary), expected=plain, route=a_route(1, challenger="router-1"))
    assert kept.ledger.route(ROUTER) == a_route(1, challenger="router-1")
    assert kept.published() == [1]
    assert [entry.kind for entry in kept.lines()] == ["release", "release", "route"]
    assert kept.lines()[-1].caused_by == plain.id


def test_a_route_follows_the_one_before(kept: Kept) -> None:
    assert not kept.ledger.save_route(a_route(2), first(a_route(2)))
    assert kept.ledger.save_route(a_route(1), first(a_route(1)))
    assert not kept.ledger.save_route(a_route(1), first(a_route(1)))
    assert not kept.ledger.save_route(a_route(3), first(a_route(3)))
    later = replace(first(a_route(2)), at=NOW + timedelta(seconds=1))
    assert kept.ledger.save_route(a_route(2, challenger="router-1"), later)
    assert kept.ledger.routes() == [a_route(2, challenger="router-1")]
    assert kept.published() == [1, 2]


def test_releases_are_listed_newest_first_and_open_ones_apart(kept: Kept) -> None:
    old, new = a_release(ReleaseState.ROLLED_BACK, adapter="router-1"), a_release(adapter="router-2", since=NOW - timedelta(days=1))
    for one in (old, new):
        assert kept.ledger.save_release(one, line(one), expected=None)
    assert kept.ledger.releases(ROUTER) == [new, old]
    assert kept.ledger.releases(ROUTER, open_only=True) == [new]
    assert kept.ledger.releases(WorkloadId("other")) == []


def test_an_unknown_release_is_none(kept: Kept) -> None:
    assert kept.ledger.release(a_release().id) is None


def test_the_route_event_fits_its_schema_and_its_key_is_the_workload(tmp_path: Path) -> None:
    engine = migrated_ledger(tmp_path)
    ledger = LedgerReleases(engine, topic="releases")
    assert ledger.save_route(a_route(1, challenger="router-1"), first(a_route(1)))
    (message,) = LedgerOutbox(engine).due(now=NOW, resend_after=timedelta(seconds=1))
    assert (message.topic, message.key) == ("releases", ROUTER)
    event = json.loads(message.value)
    Draft202012Validator(schema("envelope.v1")).validate(event)
    Draft202012Validator(schema("releases/route.v1")).validate(event["data"])
