"""Gateway and api speak TLS with the configured certificate, take a renewed one up, and are trusted by that certificate alone."""

import asyncio
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI

from flywheel.errors import CannotRun, InvalidSettings
from services.api.http_server import HttpServer, closing_idle
from services.cli.client import ApiClient
from services.cli.doctor import CheckLevel, examine
from services.integrations.api.published_routes import ApiRoutes, NoRoutes
from services.integrations.api.recorded_ids import NoAnswer, RecordedIds
from services.process.machine import read_machine
from services.process.tls import api_trust, server_context
from services.settings import Http, Settings
from services.settings.validation import faults_between
from tests.ports import free_port
from tests.services.gateway.running_gateway import ROUTE, GatewayThread

HOST = "127.0.0.1"


@pytest.fixture
def http(tmp_path: Path) -> Http:
    http = Http(certificate_file=tmp_path / "own.crt", key_file=tmp_path / "own.key", api_port=free_port())
    write_pair(http, "flywheel.example.org")
    return http


def write_pair(http: Http, name: str, *, password: bytes | None = None, days: int = 90) -> bytes:
    """A certificate that signs itself, for ``name``; its DER."""
    certificate, key = pair(name, password=password, days=days)
    certificate_file, key_file = http.certificate_file, http.key_file
    assert certificate_file is not None
    assert key_file is not None
    certificate_file.write_bytes(certificate)
    key_file.write_bytes(key)
    return ssl.PEM_cert_to_DER_cert(certificate.decode())


def pair(name: str, *, password: bytes | None = None, days: int = 90) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    sealed = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(*form)


@pytest.fixture(params=["gateway", "api"])
def port(request: pytest.FixtureRequest, http: Http, tmp_path: Path) -> Iterator[int]:
    if request.param == "api":
        with api(http) as found:
            yield found
        return
    with GatewayThread(tmp_path, "http://127.0.0.1:9", ROUTE, tls=server_context(http)) as gateway:
        yield int(gateway.url.rpartition(":")[2])


class api:
    """The api's HTTP server, with two of the routes that the daemon's own processes call."""

    def __init__(self, http: Http) -> None:
        app, self._stop = FastAPI(), threading.Event()
        app.add_api_route("/v1/recorded", lambda: {"recorded": ["one"]}, methods=["POST"])
        app.add_api_route("/v1/routes", lambda: {"routes": []})
        self.port = http.api_port
        config = uvicorn.Config(app, host=HOST, port=self.port, http=closing_idle(30), lifespan="off")
        self._server = HttpServer(config, stop=self._stop, tls=server_context(http))
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> int:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self.port

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def presented(port: int) -> bytes:
    """The certificate of a new connection, which names no host."""
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((HOST, port), timeout=30))


def test_the_port_presents_the_certificate_and_answers_no_plain_http(port: int, http: Http) -> None:
    assert http.certificate_file is not None
    assert presented(port) == ssl.PEM_cert_to_DER_cert(http.certificate_file.read_text())

    async def plain() -> None:
        async with aiohttp.ClientSession() as client, client.get(f"http://{HOST}:{port}/v1/models"):
            pass

    with pytest.raises(aiohttp.ClientError):
        asyncio.run(plain())


def test_a_renewed_certificate_is_presented_without_a_restart(port: int, http: Http) -> None:
    before = presented(port)
    renewed = write_pair(http, "renewed.example.org")
    assert presented(port) == renewed != before


def test_half_of_a_renewal_keeps_the_old_certificate(port: int, http: Http) -> None:
    before, (certificate, key) = presented(port), pair("renewed.example.org")
    assert http.certificate_file is not None
    assert http.key_file is not None
    http.certificate_file.write_bytes(certificate)
    assert presented(port) == before
    http.key_file.write_bytes(key)
    assert presented(port) == ssl.PEM_cert_to_DER_cert(certificate.decode())
    http.key_file.unlink()
    assert presented(port) == ssl.PEM_cert_to_DER_cert(certificate.decode())


def test_the_daemons_own_processes_trust_this_certificate_alone_and_follow_its_renewal(http: Http, tmp_path: Path) -> None:
    url = f"https://{HOST}:{http.api_port}"
    ids = RecordedIds(api_url=url, key="k", tls=api_trust(http))
    routes = ApiRoutes(api_url=url, key="k", tls=api_trust(http))
    with api(http):
        assert ids.recorded(["one"]) == {"one"}
        assert asyncio.run(read(routes)) == []
        write_pair(http, "renewed.example.org")
        assert ids.recorded(["one"]) == {"one"}
        assert asyncio.run(read(routes)) == []
        assert ApiClient(url=url, token="t", tls=api_trust(http)()).get("/v1/routes") == {"routes": []}
    other = Http(certificate_file=tmp_path / "other.crt", key_file=tmp_path / "other.key", api_port=http.api_port)
    write_pair(other, "flywheel.example.org")
    with api(other):
        with pytest.raises(NoAnswer, match="certificate verify failed"):
            ids.recorded(["one"])
        with pytest.raises(NoRoutes, match="CERTIFICATE_VERIFY_FAILED"):
            asyncio.run(read(routes))
        with pytest.raises(CannotRun, match="certificate verify failed"):
            ApiClient(url=url, token="t", tls=api_trust(http)()).get("/v1/routes")
    ids.close()


async def read(routes: ApiRoutes) -> object:
    async with aiohttp.ClientSession() as session:
        return await routes.read(session)


def test_a_certificate_that_is_away_for_a_moment_is_no_answer_and_read_when_it_is_back(http: Http, tmp_path: Path) -> None:
    assert http.certificate_file is not None
    ids = RecordedIds(api_url=f"https://{HOST}:{http.api_port}", key="k", tls=api_trust(http))
    with api(http):
        http.certificate_file.rename(tmp_path / "aside")
        with pytest.raises(NoAnswer, match="the certificate cannot be read"):
            ids.recorded(["one"])
        (tmp_path / "aside").rename(http.certificate_file)
        assert ids.recorded(["one"]) == {"one"}
    ids.close()


@pytest.mark.parametrize("fault", ["away", "no PEM", "another key", "a password"])
def test_files_that_cannot_be_used_are_one_sentence_with_their_names(http: Http, fault: str) -> None:
    assert http.certificate_file is not None
    assert http.key_file is not None
    if fault == "away":
        http.key_file.unlink()
    elif fault == "no PEM":
        http.certificate_file.write_bytes(b"\x00")
    elif fault == "another key":
        http.key_file.write_bytes(pair("another.example.org")[1])
    else:
        write_pair(http, "flywheel.example.org", password=b"secret")
    with pytest.raises(InvalidSettings) as caught:
        server_context(http)
    assert caught.value.where == "http.certificate_file"
    assert str(http.key_file) in str(caught.value.value)


@pytest.mark.parametrize(("days", "finding"), [(90, CheckLevel.OK), (13, CheckLevel.NOTE), (-1, CheckLevel.WRONG)])
def test_doctor_tells_when_the_certificate_ends(http: Http, tmp_path: Path, days: int, finding: CheckLevel) -> None:
    write_pair(http, "flywheel.example.org", days=days)
    (told,) = [one for one in examine(Settings(data_dir=tmp_path, http=http), read_machine()) if one.part == "tls"]
    assert (told.finding, bool(told.remedy)) == (finding, finding is not CheckLevel.OK)
    assert str(http.certificate_file) in told.sentence


def test_one_file_without_the_other_is_a_fault(tmp_path: Path) -> None:
    (fault,) = faults_between(Settings(http=Http(key_file=tmp_path / "own.key")))
    assert (fault.where, fault.reason) == ("http.key_file", "is there without http.certificate_file")


def test_without_a_certificate_nothing_changes() -> None:
    http = Http()
    assert server_context(http) is None
    assert api_trust(http)() is None
    assert (http.gateway_url, http.api_url) == ("http://127.0.0.1:8400", "http://127.0.0.1:8401")
