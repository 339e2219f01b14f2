"""What every AdapterServer holds to: vLLM as we talk to it, on a stand-in and on a real one with the small model."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import httpx
import pytest

from flywheel.errors import CannotRun
from flywheel.ids import BASE, AdapterName
from flywheel.rollout.release import NotLoaded
from services.integrations.vllm.adapter_server import VllmAdapters
from services.ports.rollout import AdapterServer
from services.stores.adapter_files import write_scaled_copy
from tests.fakes.vllm_server import FakeVllm
from tests.served_vllm import PLACES, random_adapter

NAME = AdapterName("contract-router-1")
ITEMS = [((1, 2, 3), (4, 5)), ((6, 7), (8, 9, 10))]
LIKELY = [  # to the small model: "The capital of France is" Paris, ...; "One, two, three, four," five, ...
    ((504, 3575, 282, 4649, 314), (7042, 28, 284, 260, 3575, 282)),
    ((2705, 28, 827, 28, 1296, 28, 1876, 28), (2531, 28, 2976, 28, 4962, 28)),
]


@dataclass
class Served:
    """A server and a folder that it can load."""

    server: AdapterServer
    adapter: str
    url: str


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, real_vllm: str) -> Served:
    adapter = random_adapter(tmp_path_factory.mktemp("adapter") / "adapter", scale=0.1)
    return Served(server=VllmAdapters(url=real_vllm), adapter=str(adapter), url=real_vllm)


@pytest.fixture(params=["stand-in", pytest.param("vllm", marks=pytest.mark.serving)])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    if request.param == "vllm":
        served: Served = request.getfixturevalue("real")
        yield served
        served.server.unload(NAME)
        return
    (tmp_path / "adapter_config.json").write_text("{}")
    with FakeVllm(log_probability=lambda model, position, token: -1.0 if model == BASE else -2.0) as fake:
        yield Served(server=VllmAdapters(url=fake.url), adapter=str(tmp_path), url=fake.url)


def test_a_loaded_adapter_is_listed_with_its_path_and_the_base_is_not(served: Served) -> None:
    assert served.server.healthy()
    served.server.load(NAME, served.adapter)
    assert served.server.listed()[NAME] == served.adapter
    assert BASE not in served.server.listed()


def test_loading_what_is_loaded_changes_nothing(served: Served) -> None:
    served.server.load(NAME, served.adapter)
    served.server.load(NAME, served.adapter)
    assert list(served.server.listed()).count(NAME) == 1


def test_a_name_is_never_loaded_again_from_another_path(served: Served, tmp_path: Path) -> None:
    served.server.load(NAME, served.adapter)
    with pytest.raises(NotLoaded, match="already been loaded"):
        served.server.load(NAME, str(tmp_path / "other"))


def test_a_missing_path_is_refused_with_the_reason_of_the_server(served: Served, tmp_path: Path) -> None:
    with pytest.raises(NotLoaded, match="No adapter found for"):
        served.server.load(NAME, str(tmp_path / "nowhere"))
    assert NAME not in served.server.listed()


def test_an_unloaded_adapter_is_gone_and_unloading_it_again_is_fine(served: Served) -> None:
    served.server.load(NAME, served.adapter)
    served.server.unload(NAME)
    served.server.unload(NAME)
    assert NAME not in served.server.listed()


def test_each_answer_token_has_one_log_probability(served: Served) -> None:
    known = served.server.log_probabilities(BASE, ITEMS)
    assert [len(item) for item in known] == [2, 3]
    assert all(value <= 0 for item in known for value in item)
    again = served.server.log_probabilities(BASE, ITEMS)
    assert [value for item in again for value in item] == pytest.approx([value for item in known for value in item], abs=0.05)


def test_a_probe_amid_the_requests_of_users_hurts_nobody(served: Served) -> None:
    """prompt_logprobs did: one such request in a batch with others ended the engine."""
    served.server.load(NAME, served.adapter)
    ask = {"model": "base", "messages": [{"role": "user", "content": "Tell me a long story."}], "max_tokens": 48}
    with ThreadPoolExecutor(6) as users:
        answers = [users.submit(httpx.post, f"{served.url}/v1/chat/completions", json=ask, timeout=120) for _ in range(6)]
        known = served.server.log_probabilities(NAME, ITEMS)
        assert [answer.result().status_code for answer in answers] == [200] * 6
    assert all(value <= 0 for item in known for value in item)
    assert served.server.healthy()


def test_with_every_place_taken_the_base_still_answers_as_the_base(served: Served) -> None:
    """Amid requests of adapters it answered as the one in the last place: see ``vllm_process.command``."""
    taken = [AdapterName(f"contract-full-{place}") for place in range(PLACES)]
    quiet = [value for item in served.server.log_probabilities(BASE, LIKELY) for value in item]
    for name in taken:
        served.server.load(name, served.adapter)
    asked = [value for item in served.server.log_probabilities(taken[-1], LIKELY) for value in item]
    ask = {"prompt": [1, 2, 3], "max_tokens": 64, "temperature": 0, "ignore_eos": True}
    with ThreadPoolExecutor(4) as users:
        for at in range(8):
            users.submit(httpx.post, f"{served.url}/v1/completions", json={"model": taken[at % PLACES], **ask}, timeout=120)
        amid = [value for item in served.server.log_probabilities(BASE, LIKELY) for value in item]
    for name in taken:
        served.server.unload(name)
    to_base, to_adapter = (mean(abs(one - other) for one, other in zip(amid, known, strict=True)) for known in (quiet, asked))
    assert to_base < to_adapter / 4  # in a batch with others rounding differs


def test_a_model_that_is_not_loaded_has_none(served: Served) -> None:
    with pytest.raises(NotLoaded, match="does not exist"):
        served.server.log_probabilities(AdapterName("nobody"), ITEMS)


def test_an_adapter_whose_weights_are_nan_is_named_and_the_server_goes_on(served: Served, tmp_path: Path) -> None:
    """Only its files are checked before it is loaded: the server takes it, and NaN stays in its cache until others write over it."""
    write_scaled_copy(source=random_adapter(tmp_path / "good"), out=tmp_path / "nan", factor=float("nan"))
    served.server.load(NAME, str(tmp_path / "nan"))
    with pytest.raises(NotLoaded, match="not servable: vLLM computes NaN or infinity with this adapter"):
        served.server.log_probabilities(NAME, ITEMS[:1])
    served.server.unload(NAME)
    assert served.server.healthy()
    for token in range(1, 9):
        httpx.post(f"{served.url}/v1/completions", json={"model": "base", "prompt": [token] * 200, "max_tokens": 1}, timeout=120)
    assert all(value <= 0 for item in served.server.log_probabilities(BASE, ITEMS) for value in item)


def test_a_server_that_fails_on_one_adapter_is_not_away() -> None:
    with FakeVllm(adapters={NAME: "/x"}, failing={NAME: (500, "EngineGenerateError")}) as fake:
        server = VllmAdapters(url=fake.url)
        with pytest.raises(NotLoaded, match="fails when it answers with this adapter, and not with the base: EngineGenerateError"):
            server.log_probabilities(NAME, ITEMS[:1])
        fake.failing[BASE] = (500, "EngineDeadError")
        with pytest.raises(CannotRun, match="refuses the probe: EngineGenerateError"):
            server.log_probabilities(NAME, ITEMS[:1])


def test_nan_of_the_base_is_the_server_s(tmp_path: Path) -> None:
    with FakeVllm(log_probability=lambda model, position, token: float("nan")) as fake, pytest.raises(CannotRun, match="NaN for the base"):
        VllmAdapters(url=fake.url).log_probabilities(BASE, ITEMS)


NO_LISTS = ["{}", "[]", "null", '"text"', "{", "<html>", '{"data": 7}', '{"data": [1]}', '{"data": [{"parent": "base"}]}', "[" * 50_000]


@pytest.mark.parametrize("body", NO_LISTS)
def test_what_answers_in_the_place_of_vllm_counts_as_away(body: str) -> None:
    """A proxy, another program on the port, or a page that asks for a password: no adapter is at fault."""
    server = VllmAdapters(url="http://other", transport=httpx.MockTransport(lambda _: httpx.Response(200, text=body)))
    with pytest.raises(CannotRun, match="the list of models cannot be read"):
        server.listed()
    with pytest.raises(CannotRun, match=r"the probe cannot be read|gives no log-probability"):
        server.log_probabilities(BASE, [((1,), (2,))])


def test_the_positions_are_those_of_the_answer() -> None:
    with FakeVllm(log_probability=lambda model, position, token: -float(position)) as fake:
        assert VllmAdapters(url=fake.url).log_probabilities(BASE, ITEMS) == [[-3.0, -4.0], [-2.0, -3.0, -4.0]]


def test_the_servers_own_words_are_kept_when_it_refuses_an_adapter(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    words = "LoRA rank 16 is greater than max_lora_rank 8"
    with FakeVllm(refused={str(tmp_path): f"{words}."}) as fake, pytest.raises(NotLoaded, match=words):
        VllmAdapters(url=fake.url).load(NAME, str(tmp_path))


def test_a_dead_engine_says_nothing_about_the_adapter(tmp_path: Path) -> None:
    with FakeVllm(refused={str(tmp_path): "EngineCore encountered an issue"}, dead=True, check_paths=False) as fake:
        server = VllmAdapters(url=fake.url)
        assert not server.healthy()
        with pytest.raises(CannotRun):
            server.load(NAME, str(tmp_path))


def test_a_wrong_key_and_a_server_that_is_away_are_the_operators_to_mend() -> None:
    with FakeVllm(api_key="right") as fake:
        with pytest.raises(CannotRun, match="key_file"):
            VllmAdapters(url=fake.url, key="wrong").load(NAME, "/x")
        assert VllmAdapters(url=fake.url, key="right").listed() == {}
        url = fake.url
    away = VllmAdapters(url=url)
    assert not away.healthy()
    with pytest.raises(CannotRun, match="does not answer"):
        away.listed()


@pytest.mark.parametrize(("models", "healthy"), [(200, True), (401, False), (503, False)])
def test_health_is_asked_without_the_key(models: int, healthy: bool) -> None:
    """LiteLLM, behind the gateway, answers 401 there without a key; with one it would send a question to each of its models."""
    asked: list[tuple[str, bool]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.path, "Authorization" in request.headers))
        return httpx.Response(401 if request.url.path == "/health" else models)

    assert VllmAdapters(url="http://litellm", key="sk", transport=httpx.MockTransport(answer)).healthy() is healthy
    assert asked == [("/health", False), ("/v1/models", True)]


# What the gateway passes on


HELLO = [{"role": "user", "content": "Say hello"}]


def posted(served: Served, path: str, **body: Any) -> httpx.Response:
    """Of the base, unless the body names another model."""
    return httpx.post(served.url + path, json={"model": "base", **body}, timeout=120, trust_env=False)


def chunks(answer: httpx.Response) -> list[Any]:
    """The data of a stream's events, which an empty line ends; without [DONE]."""
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    *events, rest = answer.text.split("\n\n")
    assert rest.strip() == ""
    assert events[-1] == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1] if event.startswith("data: ")]


def test_an_answer_has_a_message_a_finish_reason_and_its_usage(served: Served) -> None:
    answer = posted(served, "/v1/chat/completions", messages=HELLO, max_tokens=4).json()
    (choice,) = answer["choices"]
    assert (answer["object"], answer["model"], answer["id"].startswith("chatcmpl-")) == ("chat.completion", "base", True)
    assert {"role", "content"} <= choice["message"].keys()
    assert choice["finish_reason"] in ("stop", "length")
    assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= answer["usage"].keys()


@pytest.mark.parametrize("stream", [True, "true"])
def test_a_stream_ends_with_the_usage_where_it_is_asked_for(served: Served, stream: Any) -> None:
    asked = {"messages": HELLO, "max_tokens": 4, "stream": stream}
    plain = chunks(posted(served, "/v1/chat/completions", **asked))
    *before, last = chunks(posted(served, "/v1/chat/completions", **asked, stream_options={"include_usage": True}))
    for seen in (plain, before):
        assert {chunk["object"] for chunk in seen} == {"chat.completion.chunk"}
        assert seen[0]["choices"][0]["delta"]["role"] == "assistant"
        assert [chunk["choices"][0]["finish_reason"] is not None for chunk in seen] == [False] * (len(seen) - 1) + [True]
        assert not any(chunk.get("usage") for chunk in seen)
    assert (last["choices"], last["usage"]["prompt_tokens"] > 0, last["model"]) == ([], True, "base")


def test_several_answers_have_an_index_each(served: Served) -> None:
    answer = posted(served, "/v1/chat/completions", messages=HELLO, max_tokens=2, n=2)
    assert [choice["index"] for choice in answer.json()["choices"]] == [0, 1]


def test_stream_options_need_a_stream(served: Served) -> None:
    answer = posted(served, "/v1/chat/completions", messages=HELLO, max_tokens=2, stream_options={"include_usage": True})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "stream_options", 400)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": HELLO}),
        ("/v1/completions", {"prompt": "hello"}),
        ("/v1/responses", {"input": "hello"}),
        ("/tokenize", {"prompt": "hello"}),
    ],
)
def test_a_model_that_is_not_there_is_404_and_named(served: Served, path: str, body: dict[str, Any]) -> None:
    answer = posted(served, path, **{**body, "model": "nobody"})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"], error["code"]) == (404, "NotFoundError", "model", 404)
    assert error["message"].startswith("The model `nobody` does not exist.")


def test_a_route_that_is_not_there_has_no_error_object(served: Served) -> None:
    assert (posted(served, "/v1/embeddings", input="hello").status_code, posted(served, "/v1/rerank").status_code) == (404, 404)
    answer = posted(served, "/v1/embeddings", input="hello")
    assert answer.json() == {"detail": "Not Found"}
    assert httpx.get(f"{served.url}/v1/chat/completions", trust_env=False).json() == {"detail": "Method Not Allowed"}


def test_other_routes_name_the_model_where_their_answers_have_one(served: Served) -> None:
    completion = posted(served, "/v1/completions", prompt="one two", max_tokens=2).json()
    assert (completion["object"], completion["model"], len(completion["choices"])) == ("text_completion", "base", 1)
    (first, *_) = chunks(posted(served, "/v1/completions", prompt="one two", max_tokens=2, stream=True))
    assert (first["object"], first["model"]) == ("text_completion", "base")
    tokens = posted(served, "/tokenize", prompt="one two").json()
    assert (tokens["count"], len(tokens["tokens"])) == (2, 2)


def test_responses_hold_the_model_and_their_events_the_response(served: Served) -> None:
    response = posted(served, "/v1/responses", input="Say hello", max_output_tokens=4).json()
    assert (response["object"], response["model"], response["output"][-1]["type"]) == ("response", "base", "message")
    streamed = posted(served, "/v1/responses", input="Say hello", max_output_tokens=4, stream=True)
    events = [event.split("\n") for event in streamed.text.split("\n\n") if event.startswith("event: ")]
    assert all(name == f"event: {json.loads(data.removeprefix('data: '))['type']}" for name, data in events)
    held = [json.loads(data.removeprefix("data: ")) for _, data in events]
    assert [held[0]["type"], held[-1]["type"]] == ["response.created", "response.completed"]
    assert {event["response"]["model"] for event in held if "response" in event} == {"base"}
    missing = httpx.get(f"{served.url}/v1/responses/resp_0", trust_env=False)
    assert (missing.status_code, missing.json()["error"]["param"]) == (404, "response_id")
