"""The api on a real ledger, with a fake broker and a fixed clock."""

import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient

from services.api.app import build_app
from services.api.wiring import ApiParts, api_parts
from services.settings import Http, Settings, Token, Workload
from services.settings.sections import Scope
from services.stores.tokens import internal_key, sha256_of
from tests.fakes.event_publisher import FakeEventPublisher
from tests.opened import open_ledger, open_traffic
from tests.ports import free_port

sys.path.insert(0, str(Path(__file__).resolve().parent))
SCOPES = get_args(Scope)
NOW = datetime(2026, 5, 1, 8, 0, tzinfo=UTC)


@dataclass
class Api:
    """One api process without its threads."""

    settings: Settings
    parts: ApiParts
    http: TestClient
    publisher: FakeEventPublisher
    now: datetime = NOW

    def ask(self, method: str, path: str, *, token: str = "ada", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})} if token else more.pop("headers", {})
        return self.http.request(method, path, headers=headers, **more)

    def later(self, **by: float) -> None:
        self.now += timedelta(**by)


def settings_in(folder: Path, *, api_port: int = 8401, metrics: int = 8420) -> Settings:
    """Tokens are their owner's name. The gateway's port is one where nobody listens."""

    def token(name: str, *scopes: Any, workloads: tuple[str, ...] = ("*",)) -> Token:
        return Token(name=name, scopes=scopes, workloads=workloads, sha256=sha256_of(name))

    return Settings(
        data_dir=folder,
        http=Http(gateway_port=free_port(), api_port=api_port, metrics_port=metrics),
        workloads={"tool-router": Workload(alias="tool-router"), "second": Workload(alias="second-alias")},
        tokens=(
            token("ada", "operate", "submit", "review"),
            token("olga", "operate", "override"),
            token("desk", "submit"),
            token("narrow", "operate", "submit", workloads=("second",)),
            token("app", "infer"),
            token("foreign", *SCOPES, workloads=("second",)),
            *(token(f"only-{scope}", scope) for scope in SCOPES),
        ),
    )


class MailRedactor:
    """As much of a redactor as these tests need; the real one takes seconds to load and has its own tests."""

    def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
        return re.subn(r"\S+@\S+", "<EMAIL_ADDRESS:00000000>", text)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Empty databases of the newest schema: migrating them once is enough."""
    folder = tmp_path_factory.mktemp("migrated")
    settings = settings_in(folder)
    open_ledger(settings)
    open_traffic(settings)
    return folder


@pytest.fixture
def api(tmp_path: Path, migrated: Path) -> Iterator[Api]:
    shutil.copytree(migrated, tmp_path / "var")
    settings = settings_in(tmp_path / "var")
    publisher = FakeEventPublisher()
    held: list[Api] = []
    parts = replace(api_parts(settings), open_publisher=lambda: publisher, open_redactor=MailRedactor, clock=lambda: held[0].now)
    app = build_app(parts, ready=lambda: None)
    with TestClient(app, raise_server_exceptions=False) as http:
        held.append(Api(settings=settings, parts=parts, http=http, publisher=publisher))
        yield held[0]


@pytest.fixture
def internal(api: Api) -> str:
    """The daemon's own key."""
    return internal_key(api.settings.data_dir)
