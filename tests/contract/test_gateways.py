"""Telling gateways a route, and asking which one is in force."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx

from flywheel.ids import BASE, AdapterName, WorkloadId
from flywheel.rollout.release import Route
from flywheel.traffic.inference import Arm
from services.integrations.gateway.admin import GatewayAdmin
from services.ports.route_on_the_wire import from_wire
from tests.fakes.gateway_server import FakeGateway
from tests.fakes.vllm_server import FakeVllm
from tests.services.gateway.running_gateway import GatewayThread

ROUTER = WorkloadId("router")
ROUTE = Route(
    workload=ROUTER,
    alias="r-1",
    version=3,
    champion=BASE,
    challenger=AdapterName("router-1"),
    challenger_arm=Arm.CANARY,
    share=0.25,
    salt="release-1",
    changed_at=datetime(2026, 11, 22, tzinfo=UTC),
)


def test_a_pushed_route_is_in_force_and_arrives_as_it_is() -> None:
    with FakeGateway(key="k") as one, FakeGateway(key="k") as two:
        gateways = GatewayAdmin(urls=[one.url, two.url], key="k")
        assert gateways.applied_versions(ROUTER) == {one.url: 0, two.url: 0}
        assert gateways.push(ROUTE) == {one.url: True, two.url: True}
        assert gateways.applied_versions(ROUTER) == {one.url: 3, two.url: 3}
        assert from_wire(one.routes[ROUTER]) == ROUTE


def test_a_route_with_a_holdout_arrives_as_it_is() -> None:
    held = replace(ROUTE, challenger_arm=Arm.HOLDOUT, share=0.05)
    with FakeGateway(key="k") as one:
        assert GatewayAdmin(urls=[one.url], key="k").push(held) == {one.url: True}
        assert from_wire(one.routes[ROUTER]) == held


def test_a_gateway_that_does_not_answer_delays_no_other() -> None:
    with FakeGateway(key="k") as one, FakeGateway(key="k") as two:
        two.deaf = True
        gateways = GatewayAdmin(urls=[one.url, two.url, "http://127.0.0.1:9"], key="k")
        assert gateways.push(ROUTE) == {one.url: True, two.url: False, "http://127.0.0.1:9": False}
        assert gateways.applied_versions(ROUTER) == {one.url: 3}


def test_a_gateway_with_a_newer_route_has_the_push_in_force_already() -> None:
    with FakeGateway(key="k") as one:
        one.routes[ROUTER] = {"workload": ROUTER, "version": 9}
        assert GatewayAdmin(urls=[one.url], key="k").push(ROUTE) == {one.url: True}


def test_a_wrong_key_puts_nothing_in_force() -> None:
    with FakeGateway(key="k") as one:
        assert GatewayAdmin(urls=[one.url], key="other").push(ROUTE) == {one.url: False}
        assert one.routes == {}


def test_requests_of_all_gateways_that_answer_are_added_up() -> None:
    with FakeGateway(key="k") as one, FakeGateway(key="k") as two:
        gateways = GatewayAdmin(urls=[one.url, two.url, "http://127.0.0.1:9"], key="k")
        assert gateways.requests(ROUTER) == {"with_session": 0, "without_session": 0}
        one.requests[ROUTER] = {"with_session": 5, "without_session": 1}
        two.requests[ROUTER] = {"with_session": 7, "without_session": 0}
        two.requests["other"] = {"with_session": 9, "without_session": 9}
        assert gateways.requests(ROUTER) == {"with_session": 12, "without_session": 1}


def test_a_gateway_that_serves_is_told_a_route_and_tells_what_it_counted(tmp_path: Path) -> None:
    with FakeVllm() as vllm, GatewayThread(tmp_path, vllm.url) as serving:
        gateways = GatewayAdmin(urls=[serving.url], key="between-us")
        assert gateways.push(replace(ROUTE, champion=BASE, challenger=None, challenger_arm=None)) == {serving.url: True}
        assert gateways.applied_versions(ROUTER) == {serving.url: 3}
        body = {"model": "router-alias", "messages": [{"role": "user", "content": "hi"}]}
        asked = {"headers": {"Authorization": "Bearer app"}, "timeout": 60, "trust_env": False}
        for more in ({}, {"user": "u1"}, {"safety_identifier": "u1"}):
            assert httpx.post(f"{serving.url}/v1/chat/completions", json=body | more, **asked).status_code == 200  # type: ignore[arg-type]
        assert gateways.requests(ROUTER) == {"with_session": 2, "without_session": 1}
