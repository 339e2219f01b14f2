"""What the gateway adds to a request before the model gets it, and what it lowers.

In: a request's body without ``model``, its route under /v1, and the workload's policy. Out: the body as the model gets it, and the paths
that the gateway put in. Does not check the request: a value that the model server refuses is passed on, and refused there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CHAT = "chat/completions"
INSTRUCTING = frozenset({"system", "developer"})
TOKEN_LIMITS: Mapping[str, tuple[str, ...]] = {
    CHAT: ("max_tokens", "max_completion_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
    "messages": ("max_tokens",),
}
"""Names of the limit on an answer's tokens, by route."""
EVERY_TOKEN_LIMIT = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True, kw_only=True)
class RequestPolicy:
    """``defaults``: fields of a chat request, for clients that send none. ``caps``: the highest value of max_tokens, temperature, n."""

    system_prompt: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    caps: Mapping[str, float] = field(default_factory=dict)


def as_served(body: Mapping[str, Any], *, route: str, policy: RequestPolicy) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body that the model gets, and the paths of what the gateway put in, e.g. ``messages[0]``. Null counts as not sent."""
    served, added = dict(body), list[str]()
    if route == CHAT:
        if policy.system_prompt is not None and _wants_instructions(body.get("messages")):
            served["messages"] = [{"role": "system", "content": policy.system_prompt}, *body["messages"]]
            added.append("messages[0]")
        for name, value in policy.defaults.items():
            if all(served.get(one) is None for one in _names(name)):
                served[name] = value
                added.append(name)
    for name, most in policy.caps.items():
        for one in _capped(served, name, most, route=route):
            served[one] = most
            added.append(one)
    return served, tuple(added)


def _wants_instructions(messages: object) -> bool:
    """False where the client sends instructions of its own, and for messages that the model server will refuse."""
    if not isinstance(messages, list) or not messages:
        return False
    return not any(isinstance(message, dict) and message.get("role") in INSTRUCTING for message in messages)


def _capped(served: Mapping[str, Any], name: str, most: float, *, route: str) -> list[str]:
    """The fields to set to ``most``. An answer without a limit gets one; another field that is not sent keeps the server's default."""
    sent = [one for one in _names(name) if served.get(one) is not None]
    if not sent:
        return [*TOKEN_LIMITS[route][:1]] if name == "max_tokens" and route in TOKEN_LIMITS else []
    return [one for one in sent if (number := _number(served[one])) is not None and number > most]


def _names(name: str) -> tuple[str, ...]:
    return EVERY_TOKEN_LIMIT if name == "max_tokens" else (name,)


def _number(value: object) -> float | None:
    """Also of a number in quotes: the model server takes it for a number."""
    if isinstance(value, int | float):
        return value
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None
