"""An exchange: what the model was asked and what it answered, exactly as served, and its wire form.

In: the body of a chat request and its ChatCompletion, as parsed JSON. Out: an ``Exchange``, and the same JSON again. Streamed or not, an
answer gives the same exchange. Not kept, because it says nothing about the task: ``model``, ``stream``, ``stream_options``, and log
probabilities. Media are kept by digest. Who answered, when, and with which status stands in ``Inference``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flywheel.errors import InvalidInput, shortened
from flywheel.traffic.media import without_media
from flywheel.traffic.message import FIX, Json, Message, ToolCall, calls_as_text, message_from_wire

_NOT_SETTINGS = frozenset({"model", "messages", "tools", "stream", "stream_options"})
_COMPLETION = frozenset({"id", "object", "model", "choices", "usage", "prompt_logprobs"})
_CHOICE = frozenset({"index", "message", "finish_reason", "logprobs"})
_REASONING = ("reasoning", "reasoning_content")
"""Keys under which servers give the reasoning of an answer, the newer one first."""
CUT = ("request", "response")
"""``left_out`` of an event that was over 1 MB: of its request and its response only a part is there."""
ERASED = "erased"
"""``unreadable`` of an exchange whose subject's data key was destroyed."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Everything that the model was asked with. ``settings``: ``tool_choice``, ``response_format``, sampling, and all other fields."""

    messages: tuple[Message, ...]
    tools: tuple[Json, ...] = ()
    settings: Mapping[str, Json] = field(default_factory=dict)

    @property
    def user_turns(self) -> str:
        """Text of the user's messages, joined by line breaks."""
        return "\n".join(message.text for message in self.messages if message.role == "user")

    def to_wire(self) -> dict[str, Json]:
        """The body of a chat request, without ``model``."""
        tools = {"tools": list(self.tools)} if self.tools else {}
        return {"messages": [message.to_wire() for message in self.messages], **tools, **self.settings}


@dataclass(frozen=True, kw_only=True)
class ModelAnswer:
    """One choice of a completion. ``reasoning`` stands apart from the message: it is never graded as the answer."""

    message: Message
    finish_reason: str | None = None
    reasoning: str | None = None
    more: Mapping[str, Json] = field(default_factory=dict)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return self.message.tool_calls

    @property
    def text(self) -> str:
        """What graders and features read: the calls as JSON if there are any, else the content, else the refusal; "" for no answer."""
        if self.tool_calls:
            return calls_as_text(self.tool_calls)
        if self.message.other_calls is not None:
            return json.dumps(self.message.other_calls, ensure_ascii=False)
        return self.message.text or self.message.refusal or ""

    @property
    def has_broken_call(self) -> bool:
        """True when the arguments of a call are not a JSON object."""
        return any(call.is_broken for call in self.tool_calls)

    def to_wire(self, index: int) -> dict[str, Json]:
        message = self.message.to_wire()
        if self.reasoning is not None:
            message[next(key for key in _REASONING if key not in message)] = self.reasoning  # one of them may hold another form
        return {"index": index, "message": message, "finish_reason": self.finish_reason, **self.more}


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A request and its answers: no answer if the attempt failed, several if the client asked for ``n``.

    ``added``: paths of the request that the gateway put in. ``left_out``: paths at which policy removed something; such an exchange never
    trains. ``text_only``: recorded by a version that kept roles and text alone. ``unreadable``: why a record has no content to show, e.g.
    ``ERASED``; everything counts as left out then.
    """

    prompt: Prompt
    answers: tuple[ModelAnswer, ...] = ()
    completion_id: str = ""
    usage: Mapping[str, Json] = field(default_factory=dict)
    more: Mapping[str, Json] = field(default_factory=dict)  # of the completion, e.g. system_fingerprint
    added: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    text_only: bool = False
    unreadable: str = ""

    @property
    def answer_is_whole(self) -> bool:
        """False where policy removed something from the answer."""
        return not any(path.startswith("response") for path in self.left_out)

    @property
    def answer(self) -> ModelAnswer | None:
        """The first choice."""
        return self.answers[0] if self.answers else None

    @property
    def answer_text(self) -> str | None:
        """Text of the first choice; None when there is no answer."""
        return self.answers[0].text if self.answers else None

    def tokens(self, name: str) -> int | None:
        """A count of ``usage``, e.g. ``prompt_tokens``; None when the server gave none."""
        value = self.usage.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 2**53 else None

    def response_to_wire(self) -> dict[str, Json] | None:
        """The ChatCompletion, without ``model``; None when nothing came."""
        if not (self.answers or self.completion_id or self.usage or self.more):
            return None
        usage = {"usage": dict(self.usage)} if self.usage else {}
        completion_id = {"id": self.completion_id} if self.completion_id else {}
        choices = [answer.to_wire(index) for index, answer in enumerate(self.answers)]
        return {**completion_id, "object": "chat.completion", "choices": choices, **usage, **self.more}


def exchange_from_wire(
    request: Mapping[str, Json],
    response: Mapping[str, Json] | None,
    *,
    where: str,
    added: Sequence[str] = (),
    left_out: Sequence[str] = (),
) -> Exchange:
    """``request``: the body that the model got. ``where``: the path before ``request`` and ``response`` in messages of faults.

    Raises InvalidInput, with the path, for a request without readable messages or with over 100 levels of JSON. An answer that has not
    the form of a completion is no answer.
    """
    kept_request, request_media = without_media(dict(request), where=f"{where}.request")
    kept_response, response_media = without_media(dict(response) if response is not None else None, where=f"{where}.response")
    prompt = prompt_from_wire(kept_request, where=f"{where}.request")
    media = [path.removeprefix(f"{where}.") for path in (*request_media, *response_media)]
    answered = kept_response if isinstance(kept_response, dict) else {}
    choices, usage, completion_id = answered.get("choices"), answered.get("usage"), answered.get("id")
    return Exchange(
        prompt=prompt,
        answers=tuple(answer for one in (choices if isinstance(choices, list) else ()) if (answer := _answer(one)) is not None),
        completion_id=completion_id if isinstance(completion_id, str) else "",
        usage=usage if isinstance(usage, dict) else {},
        more={key: one for key, one in answered.items() if key not in _COMPLETION and one is not None},
        added=tuple(added),
        left_out=tuple(dict.fromkeys((*left_out, *media))),
    )


def prompt_from_wire(request: Mapping[str, Json], *, where: str) -> Prompt:
    """The body of a chat request. Raises InvalidInput, with the path, where its messages cannot be read."""
    messages, tools = request.get("messages"), request.get("tools")
    if not isinstance(messages, list) or not messages:
        raise InvalidInput("must be a list of messages", where=f"{where}.messages", value=shortened(messages), remedy=FIX)
    settings = {key: one for key, one in request.items() if key not in _NOT_SETTINGS}
    if tools is not None and not isinstance(tools, list):
        settings["tools"] = tools
    return Prompt(
        messages=tuple(message_from_wire(one, where=f"{where}.messages[{at}]") for at, one in enumerate(messages)),
        tools=tuple(tools) if isinstance(tools, list) else (),
        settings=settings,
    )


def exchange_without_content(why: str) -> Exchange:
    """Of a record whose content cannot be shown, and why."""
    return Exchange(prompt=Prompt(messages=()), left_out=CUT, unreadable=why)


def text_exchange(
    messages: Sequence[tuple[str, str]], answer: str | None, *, finish_reason: str | None = None, text_only: bool = True
) -> Exchange:
    """Pairs of role and text, and the answer's text. Rows of versions that kept text alone are read so."""
    answers = (ModelAnswer(message=Message(role="assistant", content=answer), finish_reason=finish_reason),) if answer is not None else ()
    prompt = Prompt(messages=tuple(Message(role=role, content=text) for role, text in messages))
    return Exchange(prompt=prompt, answers=answers, text_only=text_only)


def _answer(choice: Json) -> ModelAnswer | None:
    """None for a choice without a message."""
    held = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(held, dict):
        return None
    reasoning = next((held[key] for key in _REASONING if isinstance(held.get(key), str)), None)
    told = {  # without null and []: servers write every field that a message may have
        key: one for key, one in held.items() if one is not None and one != [] and not (isinstance(one, str) and key in _REASONING)
    }
    told["role"] = held.get("role") or "assistant"
    reason = choice.get("finish_reason")
    return ModelAnswer(
        message=message_from_wire(told, where="response.choices[].message"),
        finish_reason=reason if isinstance(reason, str) else None,
        reasoning=reasoning,
        more={key: one for key, one in choice.items() if key not in _CHOICE and one is not None},
    )
