"""TLS of gateway and api, where ``http.certificate_file`` is set.

A renewed certificate is in force at the next handshake, without a restart. Processes of this daemon trust that one certificate when
they call the api, whatever names stand in it: the address that they call is this host's.
"""

import ssl
from collections.abc import Callable
from pathlib import Path

import structlog

from flywheel.errors import InvalidSettings
from services.settings import Http
from services.settings.small_files import CERTIFICATE_BYTES, read_at_most

log = structlog.get_logger()
HANDSHAKE_SECONDS = 10.0
END = "-----END CERTIFICATE-----"
Stamp = tuple[tuple[int, int, int], ...]
ApiTrust = Callable[[], ssl.SSLContext | None]


def server_context(http: Http) -> ssl.SSLContext | None:
    """For a port that users reach; None without a certificate. Raises InvalidSettings when the files cannot be used."""
    if http.certificate_file is None or http.key_file is None:
        return None
    return _ServedCertificate(http.certificate_file, http.key_file).context


def api_trust(http: Http) -> ApiTrust:
    """The context of each connection to this daemon's api: the same object until the file changes; None without a certificate."""
    return _ApiTrust(http.certificate_file).current if http.certificate_file is not None else lambda: None


class _ServedCertificate:
    """The context of new connections, and the state of the files that it was read from."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._stamp = _stamp(self._files)
        self.context = self._read()
        self.context.sni_callback = self._at_handshake
        self._newest = self.context

    def _at_handshake(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """OpenSSL calls this for each handshake, also where the client names no host."""
        stamp = _stamp(self._files)
        if stamp != self._stamp:
            self._stamp = stamp  # a pair that does not fit is read once: half of a renewal, whose other half changes the stamp again
            try:
                self._newest = self._read()
                log.info("The certificate was renewed.", action="certificate_renewed", file=str(self._files[0]))
            except InvalidSettings as error:
                log.error("The new certificate cannot be used; the old one is kept.", action="certificate_unusable", reason=str(error))
        connection.context = self._newest

    def _read(self) -> ssl.SSLContext:
        certificate, key = self._files
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            raise InvalidSettings(
                f"certificate and key cannot be used: {_reason(error)}",
                where="http.certificate_file",
                value=f"{certificate}, {key}",
                remedy="Name a certificate with its chain and its key, both PEM, the key without a password.",
            ) from error
        return context


class _ApiTrust:
    def __init__(self, certificate: Path) -> None:
        self._file = certificate
        self._stamp: Stamp | None = None
        self._context: ssl.SSLContext | None = None

    def current(self) -> ssl.SSLContext | None:
        """Raises InvalidSettings at the first call where the file cannot be read; later the last one is kept."""
        stamp = _stamp((self._file,))
        if stamp != self._stamp:
            try:
                self._context, self._stamp = _trusting_only(self._file), stamp
            except (OSError, ValueError) as error:
                if self._context is None:
                    raise InvalidSettings(
                        f"the certificate cannot be read: {_reason(error)}",
                        where="http.certificate_file",
                        value=str(self._file),
                        remedy="Name a PEM file that this user may read.",
                    ) from error
        return self._context


def _trusting_only(file: Path) -> ssl.SSLContext:
    """The first certificate of the file, not its chain: an authority there may have signed others."""
    text = read_at_most(file, CERTIFICATE_BYTES).decode("ascii")
    first = text[: text.index(END) + len(END)]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is the anchor
    context.load_verify_locations(cadata=ssl.PEM_cert_to_DER_cert(first[first.index("-----BEGIN CERTIFICATE-----") :]))
    return context


def _no_password() -> str:
    """Without this OpenSSL asks the terminal, and the process waits for ever."""
    raise ValueError("the key has a password")


def _stamp(files: tuple[Path, ...]) -> Stamp:
    """What changes when a file is written or replaced; zeros where it is away."""
    return tuple(_one_stamp(file) for file in files)


def _one_stamp(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
