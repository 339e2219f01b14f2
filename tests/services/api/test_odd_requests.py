"""Whatever is sent: an answer below 500, and of a refusal the path and the reason.

Requests come from the OpenAPI document (schemathesis): such as it allows, and such as it forbids. What JSON cannot hold is added by hand.
"""

import json
import os
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

from services.api.requests import MOST_LEVELS
from tests.services.api.one_of_everything import EXAMPLES, ask, seed

EACH = 300 if os.environ.get("FLYWHEEL_SOAK") else 3
"""Requests for each route and mode: 35 routes in two modes."""
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 10**30, -(10**400), 1e308, "", "x" * 300_000, "\x00", "\u202e", [], {}, [[]], [None], {"": None}),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59+00:00", "9999-12-31T23:59:59-23:59", "2026-02-30T00:00:00Z", 10**11, -(10**11)),
)
HELD_BY_NO_JSON = ("NaN", "Infinity", "-Infinity", '"\\ud800"', '"\\udc00x"', '{"\\ud800": 1}', "[NaN]", "1e999", "01", "'a'", '"\x01"')
HEADERS = {"Content-Type": "application/json"}


@pytest.fixture
def seeded(api: Any) -> Any:
    seed(api)
    return api


def is_well_answered(answer: Any) -> bool:
    """503 is a broker or a file that is not there."""
    if answer.status_code < 400:
        return True
    error = answer.json()["error"]
    return answer.status_code in (400, 401, 403, 404, 405, 409, 413, 422, 503) and bool(error["reason"] and error["where"])


def sent(api: Any, case: Any) -> Any:
    """Over this test's client: what no HTTP client can send is left out."""
    headers = {key: str(value) for key, value in (case.headers or {}).items() if str(value).isascii() and str(value).isprintable()}
    headers["Authorization"] = "Bearer ada"
    has_body = not isinstance(case.body, schemathesis.core.NotSet)
    content = json.dumps(case.body) if has_body and not isinstance(case.body, bytes) else case.body if has_body else None
    path = quote(case.formatted_path, safe="/%:")
    query = {key: value for key, value in (case.query or {}).items() if value is not None}
    if has_body and "Content-Type" not in headers:
        headers["Content-Type"] = case.media_type or "application/json"
    return api.http.request(case.method, path, params=query, headers=headers, content=content)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_requests_from_the_openapi_document_are_answered_below_500(seeded: Any, mode: GenerationMode) -> None:
    document = schemathesis.openapi.from_dict(seeded.http.get("/openapi.json").json())
    routes = [found.ok() for found in document.get_all_operations()]
    assert len(routes) > 30
    answered: dict[int, int] = {}
    for route in routes:

        @settings(max_examples=EACH, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(case=route.as_strategy(generation_mode=mode))
        def holds(case: Any) -> None:
            answer = sent(seeded, case)
            assert is_well_answered(answer), (case.method, case.formatted_path, case.query, case.body, answer.text)
            answered[answer.status_code] = answered.get(answer.status_code, 0) + 1

        with suppress(Unsatisfiable):  # a route that takes nothing cannot be asked wrongly
            holds()
    assert sum(answered.values()) > 20 * EACH, answered
    assert answered.keys() & {404, 409, 422}, answered


@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if "json" in example])
def test_odd_values_in_a_body_are_answered_below_500(seeded: Any, name: str) -> None:
    example = dict(EXAMPLES[name])
    path = name.split(" ")[1]
    if "{" in path:
        path = path.partition("{")[0] + example["id"] + path.partition("}")[2]
    names = {**example["json"], **({"start": 1, "end": 1} if "pin" in path else {}), **({"hours": 1, "note": 1} if "ack" in path else {})}
    wholes = [json.dumps(value) for value in ODD] + list(HELD_BY_NO_JSON)
    wholes += ["[" * levels + "]" * levels for levels in (MOST_LEVELS + 1, 990, 100_000)] + ["{", '{"a":' * 300 + "1" + "}" * 300]
    begin = json.dumps({**example["json"], "": 0})[: -len('"": 0}')]
    bodies = [*wholes, *(f"{begin}{json.dumps(key)}: {whole}}}" for key in [*names, "other"] for whole in wholes)]
    for body in bodies:
        answer = seeded.ask("POST", path, content=body.encode(), headers=HEADERS)
        assert is_well_answered(answer), (name, body[:200], answer.text)
        assert len(answer.text) < 3_000, (name, body[:200])


@pytest.mark.parametrize("name", [name for name in EXAMPLES if "{" in name and name.startswith("GET")])
def test_odd_ids_are_answered_below_500(seeded: Any, name: str) -> None:
    for id in ("%00", "%ff", "%ed%a0%80", "..%2f..%2fetc%2fpasswd", "'%20OR%201=1--", "x" * 20_000, "%F0%9F%98%80", "%25", "a%0d%0ab"):
        assert is_well_answered(ask(seeded, name, token="ada", id=id)), (name, id)


@pytest.mark.parametrize("query", ["version=1e400", f"version={10**30}", "version=-1", "version=%00", "items=x", "workload=%ff"])
def test_odd_queries_are_answered_below_500(seeded: Any, query: str) -> None:
    for name in EXAMPLES:
        if name.startswith("GET") and "{" not in name:
            assert is_well_answered(seeded.ask("GET", f"{name[4:]}?workload=tool-router&{query}&limit={10**30}")), (name, query)
