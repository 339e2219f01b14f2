"""Lists, loads and unloads adapters on one vLLM replica, and measures the log-probabilities that it serves.

In: adapter names and folders. Out: nothing, or NotLoaded with vLLM's message. Which adapters should be loaded is not decided here.
vLLM's key allows chat and loading alike, so only the gateway and the release controller know it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx

from flywheel.errors import CannotRun, FlywheelError, InvalidInput
from flywheel.ids import BASE, AdapterName
from flywheel.rollout.release import NotLoaded

HEALTH_TIMEOUT_SECONDS = 3.0
LOAD_TIMEOUT_SECONDS = 120.0  # measured 35 to 125 ms for a small model; a large one is read from disk
PROBE_TIMEOUT_SECONDS = 120.0
PROBED_AT_A_TIME = 4
NOT_JSON = "Out of range float values"  # vLLM 0.32 where a log-probability is NaN: JSON has no such number
REASON_LENGTH = 500  # kept of the server's message, which may hold a stack trace


Taken = TypeVar("Taken")


class VllmAdapters:
    """The AdapterServer on vLLM's HTTP interface. The server must allow runtime loading (VLLM_ALLOW_RUNTIME_LORA_UPDATING)."""

    def __init__(self, *, url: str, key: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=self._url, headers=headers, transport=transport, trust_env=False)

    def healthy(self) -> bool:
        """Asked without the key: vLLM wants none there, and LiteLLM with one would send a question to each of its models."""
        request = self._client.build_request("GET", "/health", timeout=HEALTH_TIMEOUT_SECONDS)
        request.headers.pop("Authorization", None)
        try:
            status = self._client.send(request).status_code
            return status == 200 or (status == 401 and self._client.get("/v1/models", timeout=HEALTH_TIMEOUT_SECONDS).status_code == 200)
        except httpx.HTTPError:
            return False

    def listed(self) -> Mapping[AdapterName, str]:
        return self._taken(self._ask("GET", "/v1/models", timeout=HEALTH_TIMEOUT_SECONDS), "the list of models", _adapters)

    def load(self, name: AdapterName, path: str) -> None:
        answer = self._ask("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}, timeout=LOAD_TIMEOUT_SECONDS)
        if answer.status_code == 200:
            return
        if answer.status_code == 400 and self.listed().get(name) == path:
            return  # loaded already, by a call whose answer was lost
        if _is_no_fault_of_the_adapter(answer) or not self.healthy():
            raise CannotRun(
                f"vLLM cannot load adapters: {_reason(answer)}", where=self._url, value=answer.status_code, remedy=_remedy(answer)
            )
        raise NotLoaded(
            f"vLLM does not load it: {_reason(answer)}",
            where=name,
            value=answer.status_code,
            remedy="Train again with settings that this server accepts, or change the server's.",
        )

    def unload(self, name: AdapterName) -> None:
        answer = self._ask("POST", "/v1/unload_lora_adapter", {"lora_name": name}, timeout=LOAD_TIMEOUT_SECONDS)
        if answer.status_code not in (200, 404):
            raise CannotRun(f"vLLM does not unload it: {_reason(answer)}", where=name, value=answer.status_code, remedy="See vLLM's log.")

    def log_probabilities(self, model: AdapterName, items: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Sequence[Sequence[float]]:
        # Several at a time: for a single prompt the server spends most of its time on overhead.
        with ThreadPoolExecutor(PROBED_AT_A_TIME, thread_name_prefix="probe") as pool:
            return list(pool.map(lambda item: self._answer_log_probabilities(model, *item), items))

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _answer_log_probabilities(self, model: AdapterName, prompt: Sequence[int], answer: Sequence[int]) -> Sequence[float]:
        """One request for each token, allowed to generate only that token; vLLM takes its log-probability before that restriction.

        Not ``prompt_logprobs``: with LoRA on a CPU, one such request in a batch with users' requests ends vLLM's engine, because
        the shapes of prompt tokens and sampled tokens differ.
        """
        return [self._token_log_probability(model, [*prompt, *answer[:at]], token) for at, token in enumerate(answer)]

    def _token_log_probability(self, model: AdapterName, before: Sequence[int], token: int) -> float:
        body = {
            "model": model,
            "prompt": before,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 0,
            "allowed_token_ids": [token],
            "return_tokens_as_token_ids": True,
        }
        response = self._ask("POST", "/v1/completions", body, timeout=PROBE_TIMEOUT_SECONDS)
        if response.status_code >= 500 and model != BASE:
            response = self._asked_again(model, body)
        if response.status_code == 400 and NOT_JSON in response.text:
            raise self._nan(model)
        if response.status_code == 404:
            raise NotLoaded(f"vLLM does not serve it: {_reason(response)}", where=model, value=404, remedy="It is loaded again.")
        if response.status_code == 400:
            raise InvalidInput(
                f"vLLM refuses the probe: {_reason(response)}", where=f"{model} probe", remedy="Train with shorter examples."
            )
        said = self._taken(response, "the probe", lambda content: content["choices"][0]["logprobs"])
        try:
            if said["tokens"] != [f"token_id:{token}"]:
                raise KeyError(said["tokens"])
            log_probability = float(said["token_logprobs"][0])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise CannotRun(
                f"vLLM gives no log-probability for a token: {error!r}",
                where=f"{self._url}/v1/completions",
                remedy="Use a vLLM that answers logprobs and allowed_token_ids.",
            ) from error
        if not math.isfinite(log_probability):
            raise self._nan(model)
        return log_probability

    def _asked_again(self, model: AdapterName, body: Mapping[str, object]) -> httpx.Response:
        """The answer to a question on which the server failed. Raises NotLoaded where it fails again and the base answers the same."""
        again = self._ask("POST", "/v1/completions", body, timeout=PROBE_TIMEOUT_SECONDS)
        base = self._ask("POST", "/v1/completions", {**body, "model": BASE}, timeout=PROBE_TIMEOUT_SECONDS)
        if again.status_code >= 500 and base.status_code == 200:
            raise NotLoaded(
                f"not servable: vLLM fails when it answers with this adapter, and not with the base: {_reason(again)}",
                where=model,
                value=again.status_code,
                remedy="Its files may be damaged: train again.",
            )
        return again

    def _nan(self, model: AdapterName) -> FlywheelError:
        """NaN of an adapter is the adapter's fault. It may stay in vLLM's key-value cache, where requests of others meet it."""
        if model == BASE:
            return CannotRun("vLLM computes NaN for the base model", where=self._url, remedy="Restart it, and see its log.")
        remedy = "Its weights are damaged or too large: train again."
        return NotLoaded("not servable: vLLM computes NaN or infinity with this adapter", where=model, remedy=remedy)

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None, *, timeout: float) -> httpx.Response:
        try:
            return self._client.request(method, path, json=body, timeout=timeout)
        except httpx.HTTPError as error:
            raise CannotRun(
                f"vLLM does not answer: {type(error).__name__}", where=f"{self._url}{path}", remedy="See that it runs: flywheel doctor."
            ) from error

    def _taken(self, response: httpx.Response, what: str, take: Callable[[Any], Taken]) -> Taken:
        """What ``take`` finds in the JSON of a successful answer. Raises CannotRun otherwise: a fault of the server, not of the adapter."""
        if response.status_code != 200:
            value = response.status_code
            raise CannotRun(f"vLLM refuses {what}: {_reason(response)}", where=self._url, value=value, remedy=_remedy(response))
        try:
            return take(response.json())
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
            raise CannotRun(
                f"the answer with {what} cannot be read: {type(error).__name__}",
                where=str(response.request.url),
                remedy="See that vLLM answers at this address, and not another program.",
            ) from error


def _adapters(content: Any) -> dict[AdapterName, str]:
    """Name to folder. Models without a parent are no adapters."""
    return {AdapterName(str(model["id"])): str(model.get("root", "")) for model in content["data"] if model.get("parent") is not None}


def _reason(answer: httpx.Response) -> str:
    """vLLM answers {"error": {"message"}}, {"error": "Unauthorized"}, {"detail"} or text."""
    try:
        content = answer.json()
    except ValueError:
        return answer.text.strip()[:REASON_LENGTH] or f"status {answer.status_code}"
    error = content.get("error", content.get("detail", content)) if isinstance(content, dict) else content
    text = str(error.get("message", error)) if isinstance(error, dict) else str(error)
    return " ".join(text.split())[:REASON_LENGTH].rstrip(".")


def _is_no_fault_of_the_adapter(answer: httpx.Response) -> bool:
    """A wrong key, or a server without the route: 404 with FastAPI's own text instead of vLLM's."""
    return answer.status_code in (401, 403, 405) or (answer.status_code == 404 and _reason(answer) == "Not Found")


def _remedy(answer: httpx.Response) -> str:
    if answer.status_code in (401, 403):
        return "Set serving.key_file to vLLM's key."
    if answer.status_code in (404, 405):
        return "Start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True."
    return "See vLLM's log."
