"""Two gateway processes on one port: the death of one cuts what is in flight on it and refuses nobody else."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from gateway_parts import until
from test_gateway_process import ROUTE, configuration
from topic_reader import SPEC, TOPIC, TopicReader

from services.cli.up.supervisor import PartState, Supervisor, Watched
from services.cli.up.wiring import parts
from services.gateway.wiring import gateway_parts
from services.integrations.gateway.admin import GatewayAdmin
from services.integrations.kafka.topics import KafkaAccess, create_topics
from services.process.child_process import ProcessGroup
from services.process.machine import read_machine
from services.process.process_names import gateway_urls
from services.settings import Settings, load
from services.stores.capture_spool import CaptureSpool
from services.stores.route_files import RouteFiles
from services.stores.sealed_log import SealedLog
from services.stores.sealing import sealing_key
from services.stores.spooled_event import SpooledEvent
from services.stores.tokens import internal_key
from tests.brokers import running_broker
from tests.crash_world import wait_for
from tests.fakes.vllm_server import FakeVllm
from tests.steady_users import Asked, SteadyUsers

KILLS = 20 if os.environ.get("FLYWHEEL_SOAK") == "1" else 2
NOW = datetime(2026, 11, 30, tzinfo=UTC)


@contextmanager
def two_gateways(tmp_path: Path, config: Path, settings: Settings) -> Iterator[tuple[Watched, ...]]:
    """Watched as `flywheel up` does it."""
    group, stop = ProcessGroup(mark=tmp_path.name), threading.Event()
    wanted = [
        one
        for one in parts(settings, config=config, machine=read_machine(), group=group, worked_before=False)
        if one.name.startswith("gateway")
    ]
    supervisor = Supervisor(wanted, report=lambda _: None, stop=stop)
    running = threading.Thread(target=supervisor.run, kwargs={"all_ready": lambda _: None})
    running.start()
    try:
        until(lambda: all(one.state is PartState.READY for one in supervisor.watched))
        yield supervisor.watched
    finally:
        stop.set()
        running.join()
        group.release()


def kill(gateway: Watched) -> tuple[float, float]:
    """With signal 9. The moments before the signal and after the end."""
    assert gateway.running is not None
    handle = os.pidfd_open(gateway.running.pid)
    before = time.monotonic()
    os.kill(gateway.running.pid, signal.SIGKILL)
    wait_for(handle)
    os.close(handle)
    return before, time.monotonic()


def in_flight(one: Asked, kills: list[tuple[float, float]]) -> bool:
    return any(one.began <= dead and one.began > before - 10 for before, dead in kills)


@pytest.mark.broker
def test_one_of_two_gateways_is_killed_and_only_what_was_in_flight_on_it_fails(tmp_path: Path) -> None:
    RouteFiles(tmp_path / "var" / "routes").save(ROUTE)
    rng, kills = random.Random(14), []
    with FakeVllm(answers=lambda model, messages: "yes", delay=0.05) as vllm, running_broker(tmp_path) as bootstrap:
        create_topics(KafkaAccess(bootstrap=bootstrap), names={"traffic": TOPIC}, spec=SPEC, replication=1)
        config = configuration(tmp_path, vllm.url, gateway={"processes": 2})
        config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "kafka": {"bootstrap": bootstrap}}))
        settings, ids = load(config), set[str]()
        url = f"http://{settings.http.host}:{settings.http.gateway_port}"
        reader = TopicReader(bootstrap, ids)
        reader.start()
        with two_gateways(tmp_path, config, settings) as gateways:
            admin = GatewayAdmin(urls=gateway_urls(settings), key=internal_key(settings.data_dir))
            assert list(admin.push(replace(ROUTE, version=9)).values()) == [True, True]
            with SteadyUsers(url=url, token="secret", model="router-alias") as users:
                for _ in range(KILLS):
                    seen = len(users.answered)
                    until(lambda seen=seen: len(users.answered) > seen + 20)
                    threading.Event().wait(rng.random() / 10)
                    chosen = rng.choice(gateways)
                    kills.append(kill(chosen))
                    until(lambda: sum(len(one.deaths) for one in gateways) == len(kills))
                    until(lambda: all(one.state is PartState.READY for one in gateways))
                    until(lambda: len(admin.applied_versions(ROUTE.workload)) == 2)
            assert set(admin.applied_versions(ROUTE.workload).values()) == {9}
            wanted = {f"{one.request_id}-1" for one in users.answered}
            until(lambda: wanted <= ids, told=lambda: f"{len(wanted - ids)} of {len(wanted)} missing")
            until(lambda: not list((tmp_path / "var" / "spool").rglob("*.sealed")))
        reader.stop()
    told = [one.failed for one in users.failed]
    print(f"{len(users.asked)} asked, {len(told)} cut by {KILLS} kills, longest time without answer {users.longest_gap():.2f} s: {told}")
    assert [one.failed for one in users.failed if not in_flight(one, kills)] == []
    assert len(wanted) == len(users.answered) == len(users.asked) - len(told)


def test_what_a_gateway_left_that_is_no_more_is_taken_over(tmp_path: Path) -> None:
    """``gateway.processes`` was 3 and is 1."""
    settings = load(configuration(tmp_path, "http://127.0.0.1:9"))
    spool = settings.data_dir / "spool"
    key = sealing_key(settings.data_dir, configured=None, in_use=False)
    for name, contents in (("sealed", [b"own"]), ("sealed-2", [b"second"]), ("sealed-3", [])):
        (spool / name).mkdir(parents=True)
        log = SealedLog(spool / name, key=key)
        if contents:
            log.append(contents)
        log.close()
    for number in (2, 3):
        left = CaptureSpool(spool / f"gateway-{number}.db")
        left.keep([SpooledEvent(id=f"{number}-{place}", key="k", body=b"x") for place in range(3)], now=NOW)
        left.sent([f"{number}-0"], now=NOW)
        left.set_aside({f"{number}-1": "too large"}, now=NOW)
    parts = gateway_parts(settings)
    places = parts.capture.sealed.left_over()
    assert [parts.capture.sealed.read(place) for place in places] == [b"own", b"second"]
    own = parts.capture.open_record().spool
    assert (own.unconfirmed()[0], [event.id for event in own.due()]) == (["2-0", "3-0"], ["2-2", "3-2"])
    assert sorted(entry.name for entry in spool.iterdir() if not entry.name.startswith("gateway.db")) == ["sealed"]
    again = gateway_parts(settings)
    assert len(again.capture.sealed.left_over()) == 2
    found = again.capture.open_record().spool
    assert found.waiting() == 4
    found.take_back(now=NOW)
    assert (found.waiting(), [event.id for event in found.due()]) == (6, ["2-2", "3-2", "2-1", "3-1"])
    found.take_back(now=NOW)
    assert found.waiting() == 6


def test_the_second_of_two_gateways_leaves_the_files_of_the_first_alone(tmp_path: Path) -> None:
    settings = load(configuration(tmp_path, "http://127.0.0.1:9", gateway={"processes": 2}))
    first = gateway_parts(settings)
    (place,) = first.capture.sealed.append([b"first"])
    second = gateway_parts(settings, number=2)
    assert second.capture.sealed.left_over() == []
    second.capture.sealed.append([b"second"])
    assert first.capture.sealed.read(place) == b"first"
    assert {entry.name for entry in (settings.data_dir / "spool").iterdir()} == {"sealed", "sealed-2"}
