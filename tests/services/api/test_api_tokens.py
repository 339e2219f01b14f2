"""Tokens made over HTTP: shown once, kept hashed, in force at once, until they expire or are revoked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flywheel.errors import CannotRun, NotAllowed
from flywheel.journal import JournalKind
from services.stores.token_file import TokenFile
from services.stores.tokens import Tokens


def make(api: Any, name: str = "bea", *, by: str = "only-admin", **changes: Any) -> Any:
    return api.ask("POST", "/v1/tokens", token=by, json={"name": name, "scopes": ["review"], **changes})


def later(api: Any, days: float) -> Tokens:
    """The same file, read by a process whose clock is so much further."""
    api.later(days=days)
    return Tokens(entries=[], internal="x", issued=TokenFile(api.settings.data_dir), clock=lambda: api.now)


def test_a_token_is_shown_once_and_only_its_hash_is_kept(api: Any) -> None:
    made = make(api)
    assert made.status_code == 201
    secret = made.json()["token"]
    assert secret.startswith("fw-")
    assert len(secret) > 40
    listed = api.ask("GET", "/v1/tokens", token="only-admin")
    assert [(one["name"], one["state"], one["created_by"]) for one in listed.json()["tokens"]] == [("bea", "in force", "only-admin")]
    assert "sha256" not in listed.text
    for file in [path for path in Path(api.settings.data_dir).rglob("*") if path.is_file()]:
        assert secret.encode() not in file.read_bytes()
    assert (api.settings.data_dir / "keys" / "tokens.json").stat().st_mode & 0o777 == 0o600


def test_it_is_in_force_at_once_until_it_is_revoked(api: Any) -> None:
    secret = make(api, days=3_650).json()["token"]
    assert api.ask("GET", "/v1/alerts", token=secret).status_code == 200
    assert api.ask("POST", "/v1/train", token=secret, json={"workload": "second", "reason": "r"}).status_code == 403
    for _ in range(2):
        revoked = api.ask("POST", "/v1/tokens/bea/revoke", token="only-admin", json={"reason": "lost"})
        assert (revoked.status_code, revoked.json()["state"]) == (200, "revoked")
    answer = api.ask("GET", "/v1/alerts", token=secret)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (401, "the token is revoked")
    lines = [(line.subject, line.state, line.actor, line.reason) for line in api.parts.ledger.journal.entries(kind=JournalKind.TOKEN)]
    assert lines == [("bea", "created", "only-admin", "created by a person"), ("bea", "revoked", "only-admin", "lost")]


def test_it_expires(api: Any) -> None:
    secret = make(api, days=2).json()["token"]
    assert later(api, 1.9).person(f"Bearer {secret}", scope="review") == "bea"
    with pytest.raises(NotAllowed, match="the token is expired"):
        later(api, 0.2).person(f"Bearer {secret}", scope="review")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"name": "ada"}, 409),  # of flywheel.yaml
        ({"name": "flywheel"}, 409),  # the daemon itself
        ({"name": "old"}, 409),  # revoked: what was done is signed with it
        ({"name": "a b"}, 422),
        ({"name": ""}, 422),
        ({"scopes": []}, 422),
        ({"scopes": ["internal"]}, 422),
        ({"workloads": []}, 422),
        ({"workloads": ["nowhere"]}, 404),
        ({"days": 0}, 422),
    ],
)
def test_what_cannot_be_made_is_refused(api: Any, changes: dict[str, Any], status: int) -> None:
    make(api, "old")
    api.ask("POST", "/v1/tokens/old/revoke", token="only-admin", json={"reason": "r"})
    assert make(api, **changes).status_code == status
    assert [one.name for one in api.parts.access.issued.issued()] == ["old"]


def test_an_admin_of_one_workload_makes_and_sees_tokens_of_this_one_only(api: Any) -> None:
    assert make(api, "wide").status_code == 201
    for workloads in (["*"], ["tool-router"], ["second", "tool-router"], ["nowhere"]):
        assert make(api, by="foreign", workloads=workloads).status_code == 403
    assert make(api, "theirs", by="foreign", workloads=["second"]).status_code == 201
    assert [one["name"] for one in api.ask("GET", "/v1/tokens", token="foreign").json()["tokens"]] == ["theirs"]
    statuses = [api.ask("POST", f"/v1/tokens/{name}/revoke", token="foreign", json={"reason": "r"}).status_code for name in ("wide", "no")]
    assert statuses == [404, 404]


def test_a_file_that_cannot_be_read_opens_nothing_and_is_not_replaced(api: Any) -> None:
    secret = make(api).json()["token"]
    file = api.settings.data_dir / "keys" / "tokens.json"
    file.write_text(file.read_text()[:-20])
    assert api.ask("GET", "/v1/alerts", token=secret).status_code == 401
    assert api.ask("GET", "/v1/alerts", token="ada").status_code == 200
    answer = make(api, "next")
    assert (answer.status_code, answer.json()["error"]["where"]) == (503, str(file))
    assert "bea" in file.read_text()


def test_two_processes_that_make_tokens_lose_none(tmp_path: Path, api: Any) -> None:
    one, other = TokenFile(tmp_path), TokenFile(tmp_path)
    make(api)
    (token,) = api.parts.access.issued.issued()
    for number in range(6):
        assert (one if number % 2 else other).add(replace(token, name=f"n{number}"))
    assert not one.add(replace(token, name="n0"))
    assert [held.name for held in one.issued()] == [held.name for held in other.issued()] == [f"n{number}" for number in range(6)]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, api: Any) -> None:
    (tmp_path / "keys").write_text("a file")
    make(api)
    (token,) = api.parts.access.issued.issued()
    with pytest.raises(CannotRun, match=r"tokens\.json"):
        TokenFile(tmp_path).add(token)
