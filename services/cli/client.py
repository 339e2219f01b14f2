"""The client of the daemon's api.

In: the api's URL, a token. Out: parsed JSON, or the api's error with its exit code.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path

import httpx

from flywheel.errors import CannotRun, FlywheelError, InvalidInput
from services.cli.output import Json
from services.process.tls import api_trust
from services.settings import Settings
from services.settings.small_files import SECRET_BYTES, read_at_most

ANSWER_SECONDS = 60.0  # pinning a reference reads weeks of panes


class ApiError(FlywheelError):
    """An error that the api answered, unchanged."""

    def __init__(self, *, reason: str, remedy: str, where: str, value: object, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(reason, remedy=remedy, where=where, value=value)


class ApiClient:
    """One base URL and one token."""

    def __init__(self, *, url: str, token: str, tls: ssl.SSLContext | None = None) -> None:
        """``tls``: what is trusted, where the URL is https."""
        verify: ssl.SSLContext | bool = tls or True
        headers = {"Authorization": f"Bearer {token}"}
        # trust_env=False: a proxy in the environment must not stand between the command line and its own host
        self._client = httpx.Client(base_url=url, timeout=ANSWER_SECONDS, headers=headers, trust_env=False, verify=verify)
        self._url = url

    def get(self, path: str, **query: object) -> dict[str, Json]:
        """Raises ApiError, CannotRun."""
        return _parsed(self._ask("GET", path, params=_query(query)))

    def post(self, path: str, body: Mapping[str, object], *, once: str | None = None) -> dict[str, Json]:
        """``once`` is an idempotency key: the same key asks once. Raises ApiError, CannotRun."""
        return _parsed(self._ask("POST", path, json=dict(body), headers={"Idempotency-Key": once} if once else None))

    def upload(self, path: str, content: bytes, **query: object) -> str:
        """Sends NDJSON, returns text. Raises ApiError, CannotRun."""
        return self._ask("POST", path, content=content, params=_query(query), headers={"Content-Type": "application/x-ndjson"}).text

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        try:
            answer = self._client.request(method, path, params=params, json=json, content=content, headers=headers)
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise InvalidInput("is not a valid path", where=path[:80], remedy="Correct the names and ids in the command.") from error
        except httpx.HTTPError as error:
            raise CannotRun(
                f"the api does not answer: {error}",
                where=self._url,
                remedy="Start the daemon with `flywheel up`, or correct http.host, http.api_port and http.certificate_file.",
            ) from error
        if answer.status_code >= 400:
            raise _error(answer)
        return answer


def client(settings: Settings, *, token: str) -> ApiClient:
    """The client of the api that this configuration names."""
    return ApiClient(url=settings.http.api_url, token=token, tls=api_trust(settings.http)())


def read_token(token_file: Path | None, from_environment: str | None) -> str:
    """The file wins over FLYWHEEL_TOKEN. Raises InvalidInput when there is neither."""
    remedy = "Give --token-file, or set FLYWHEEL_TOKEN to one of the tokens in flywheel.yaml."
    if token_file is not None:
        try:
            token = read_at_most(token_file, SECRET_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput("the token file cannot be read", where=str(token_file), remedy=remedy) from error
    else:
        token = (from_environment or "").strip()
    if not token:
        raise InvalidInput("there is no token", where=str(token_file or "FLYWHEEL_TOKEN"), remedy=remedy)
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidInput(
            "is not a token: it contains blanks or unprintable characters", where=str(token_file or "FLYWHEEL_TOKEN"), remedy=remedy
        )
    return token


def _query(values: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items() if value is not None}


def _parsed(answer: httpx.Response) -> dict[str, Json]:
    try:
        value = answer.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise CannotRun(
            "is not the api: the answer is no JSON object", where=str(answer.url), remedy="Check what listens on http.api_port."
        )
    return value


def _error(answer: httpx.Response) -> FlywheelError:
    try:
        error = answer.json()["error"]
        return ApiError(
            reason=str(error["reason"]),
            remedy=str(error["remedy"]),
            where=str(error["where"]),
            value=error["value"],
            exit_code=int(error["exit_code"]),
        )
    except (ValueError, KeyError, TypeError):
        return CannotRun(
            f"answered {answer.status_code} without a reason", where=str(answer.url), remedy="Check what listens on http.api_port."
        )
