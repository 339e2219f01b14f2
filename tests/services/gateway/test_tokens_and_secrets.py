"""Tokens tell who acts; own secrets are made once."""

import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flywheel.errors import CannotRun, InvalidSettings, NotAllowed
from services.gateway.wiring import gateway_parts
from services.settings import Settings, Token
from services.settings.secrets import KnownToken
from services.stores.token_file import TokenFile
from services.stores.tokens import Tokens, internal_key, own_secret, redaction_key
from tests.opened import tokens

ANNA = KnownToken(
    name="anna",
    scopes=frozenset({"operate", "infer"}),
    workloads=frozenset({"router"}),
    sha256=hashlib.sha256(b"secret-of-anna").hexdigest(),
)
KNOWN = Tokens(entries=[ANNA], internal="between-us", issued=TokenFile(Path("/nowhere")))


def test_a_known_token_is_its_person() -> None:
    assert KNOWN.person("Bearer secret-of-anna", scope="operate") == "anna"
    assert KNOWN.person("bearer  secret-of-anna ", scope="infer", workload="router") == "anna"


def test_the_internal_key_is_the_daemon_and_nothing_more() -> None:
    assert KNOWN.person("Bearer between-us", scope="internal", workload="anything") == "flywheel"
    with pytest.raises(NotAllowed):
        KNOWN.person("Bearer between-us", scope="operate")


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Basic secret-of-anna", "secret-of-anna", "Bearer wrong", "Bearer \udcff"]
)
def test_nobody_gets_401(authorization: str | None) -> None:
    with pytest.raises(NotAllowed) as refused:
        KNOWN.person(authorization, scope="infer")
    assert refused.value.status == 401  # type: ignore[attr-defined]


@pytest.mark.parametrize(("scope", "workload"), [("override", None), ("internal", None), ("infer", "other")])
def test_a_known_person_without_the_right_gets_403(scope: str, workload: str | None) -> None:
    with pytest.raises(NotAllowed) as refused:
        KNOWN.person("Bearer secret-of-anna", scope=scope, workload=workload)
    assert refused.value.status == 403  # type: ignore[attr-defined]
    assert "secret-of-anna" not in str(refused.value)


def test_many_that_start_at_once_read_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = set(pool.map(lambda _: internal_key(tmp_path), range(64)))
    assert len(made) == 1
    file = tmp_path / "keys" / "internal"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["internal"]
    assert redaction_key(tmp_path, in_use=False) != made.pop().encode()


def test_a_gateway_that_had_the_key_of_the_pseudonyms_makes_no_other(tmp_path: Path) -> None:
    """Exchanges wait until the file is back: ``open_record`` is asked again."""
    parts = gateway_parts(Settings(data_dir=tmp_path)).capture
    parts.open_record()
    key = tmp_path / "keys" / "redaction"
    key.rename(tmp_path / "backup")
    with pytest.raises(CannotRun, match="the key of the pseudonyms is missing") as missing:
        parts.open_record()
    assert (missing.value.where, key.exists()) == (str(key), False)
    (tmp_path / "backup").rename(key)
    parts.open_record()


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "internal").write_text("\n")
    with pytest.raises(CannotRun, match="the secret is empty"):
        own_secret(tmp_path / "internal")


def test_a_token_from_a_file_is_the_one_that_stands_in_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret-in-a-file\n")
    settings = Settings(data_dir=tmp_path, tokens=(Token(name="app", scopes=("infer",), token_file=file),))
    assert tokens(settings).person("Bearer secret-in-a-file", scope="infer", workload="any") == "app"


@pytest.mark.parametrize(
    ("token", "where"),
    [
        (Token(name="app", scopes=("infer",), token_file=Path("/nowhere/at/all")), "tokens.0.token_file"),
        (Token(name="app", scopes=("infer",), sha256="abc"), "tokens.0.sha256"),
    ],
)
def test_a_token_that_cannot_be_used_is_named_by_its_place(tmp_path: Path, token: Token, where: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        tokens(Settings(data_dir=tmp_path, tokens=(token,)))
    assert refused.value.where == where
