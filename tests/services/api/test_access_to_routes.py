"""Every route of the app against every kind of token. A new route without a rule, or without an example, fails."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from services.api.access import guarded_routes, scopes_of
from services.api.app import build_app
from services.settings.sections import Scope
from tests.services.api.conftest import SCOPES
from tests.services.api.one_of_everything import EXAMPLES, ROUTER, ask, seed

OPEN = {"GET /healthz", "GET /readyz", "GET /metrics", "GET /openapi.json"}


def routes_of(app: FastAPI) -> Iterator[tuple[str, tuple[str, ...]]]:
    """``METHOD path`` and the scopes that open it; () for a route without a rule."""
    for context in iter_route_contexts(app.routes):
        for method in sorted((context.methods or set()) - {"HEAD", "OPTIONS"}):
            yield f"{method} {context.path.replace(':path}', '}')}", scopes_of(getattr(context, "openapi_extra", None))


@pytest.fixture
def rules(api: Any) -> dict[str, tuple[str, ...]]:
    return dict(routes_of(api.http.app))


@pytest.fixture
def seeded(api: Any) -> Any:
    seed(api)
    return api


def names_workload(name: str) -> bool:
    return name.startswith("POST /v1/workloads/") or ("{" not in name and ROUTER in str(EXAMPLES[name]))


def test_every_route_has_a_rule_and_an_example(rules: dict[str, tuple[str, ...]]) -> None:
    assert {name for name, scopes in rules.items() if not scopes} == OPEN
    assert set(rules) - OPEN == set(EXAMPLES)


def test_a_route_without_a_rule_cannot_be_made(api: Any) -> None:
    routes = guarded_routes(api.parts)
    with pytest.raises(ValueError, match="/v1/new has no rule of access"):
        routes.get("/v1/new")(lambda: None)
    plain = build_app(api.parts, ready=lambda: None)
    plain.router.routes.append(APIRoute("/v1/new", lambda: None))
    assert dict(routes_of(plain))["GET /v1/new"] == ()


def test_without_a_known_token_no_byte_of_a_body_is_read(api: Any, rules: dict[str, tuple[str, ...]]) -> None:
    async def status(name: str, headers: list[tuple[bytes, bytes]]) -> int:
        method, path = name.split(" ")
        scope = {
            "type": "http", "http_version": "1.1", "method": method, "path": path.replace("{", "").replace("}", ""), "query_string": b"",
            "headers": [(b"content-type", b"application/json"), *headers],
        }  # fmt: skip
        answered: list[int] = []

        async def receive() -> dict[str, object]:
            raise AssertionError("the body is read")

        async def send(message: Any) -> None:
            answered.append(message.get("status", 0))

        await api.http.app(scope, receive, send)
        return answered[0]

    for name in rules.keys() - OPEN:
        for headers in ([], [(b"authorization", b"Bearer wrong")], [(b"authorization", b"Basic ada")], [(b"authorization", b"\xff")]):
            assert asyncio.run(status(name, headers)) == 401, (name, headers)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_opens_what_its_rules_name_and_nothing_else(seeded: Any, rules: dict[str, tuple[str, ...]], scope: Scope) -> None:
    for name in rules.keys() - OPEN:
        status = ask(seeded, name, token=f"only-{scope}").status_code
        assert (status == 403) == (scope not in rules[name]), (name, status)
        assert status not in (401, 500), name


def test_what_another_workload_has_is_answered_like_what_is_not_there(seeded: Any, rules: dict[str, tuple[str, ...]]) -> None:
    """The token has every scope, for the workload ``second``."""
    for name in rules.keys() - OPEN - {"POST /v1/recorded"}:
        if names_workload(name):
            theirs, nowhere = (ask(seeded, name, token="foreign", workload=one) for one in (ROUTER, "nowhere"))
            if name.endswith(":batch"):
                assert ("accepted" not in theirs.text, "does not cover" in theirs.text) == (True, True)
            else:
                assert theirs.status_code == 403, (name, theirs.text)
            assert theirs.text.replace(ROUTER, "nowhere") == nowhere.text, name
            continue
        theirs = ask(seeded, name, token="foreign")
        if "{" not in name:
            assert (theirs.status_code, ROUTER in theirs.text) == (200, False), (name, theirs.text)
            listed = [seeded.ask("GET", name[4:], token="foreign", params={"workload": one}) for one in (ROUTER, "nowhere")]
            if name not in ("GET /v1/routes", "GET /v1/tokens"):
                assert ({answer.status_code for answer in listed}, listed[0].text.replace(ROUTER, "nowhere")) == ({403}, listed[1].text)
            continue
        absent = ask(seeded, name, token="foreign", id="absent")
        assert theirs.status_code == absent.status_code == 404, (name, theirs.text)
        told, other = theirs.json()["error"], absent.json()["error"]
        assert {**told, "value": ""} == {**other, "value": ""}, name


def test_their_own_workload_sees_everything_that_was_seeded(seeded: Any, rules: dict[str, tuple[str, ...]]) -> None:
    """The counterpart: what the test above does not find is there."""
    for name in rules.keys() - OPEN:
        if name.startswith("GET ") and name not in ("GET /v1/runs", "GET /v1/references", "GET /v1/datasets/{snapshot_id}"):
            answer = ask(seeded, name, token="only-admin" if "token" in name else "ada")
            assert answer.status_code == 200, (name, answer.text)
            assert ROUTER in answer.text or "work" in name, name
