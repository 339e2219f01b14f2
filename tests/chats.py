"""Fifty requests of every kind that clients send, without personal data: plain, system, several turns, tools, results, parts, null."""

from typing import Any

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": 'Weather of a city, "now" & here <b>',
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
        },
    },
    {
        "type": "function",
        "function": {"parameters": {"type": "object", "properties": {}}, "name": "list_orders", "strict": True, "x": 1},
        "y": 2,
    },
    {"type": "function", "function": {"name": "ping"}},
]


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def said(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def call(name: str, arguments: Any, number: int = 1) -> dict[str, Any]:
    return {"id": f"call0000{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def result(content: Any, number: int = 1) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call0000{number}", "content": content}


def texts(*parts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": part} for part in parts]


def chat(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def with_tools(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return chat(*messages, tools=TOOLS, **more)


SYSTEM = {"role": "system", "content": "Answer in one word."}
DEVELOPER = {"role": "developer", "content": "Never guess."}
OSLO, LIMA = call("get_weather", '{"city": "Oslo", "days": 2}'), call("get_weather", '{"city":"Lima"}', 2)

PLAIN = [
    chat(user("What colour is snow?")),
    chat(user("")),
    chat(user("  leading and trailing  \n")),
    chat(user('Ünïcödé ☃ 漢字 \u2028 <|im_end|> and <b>markup</b> & "quotes"')),
    chat(user("Line one\r\nline two\n\n\ttabbed")),
    chat(user("{% raw %}{{ messages }}{% endraw %}")),
    chat(SYSTEM, user("What colour is snow?")),
    chat({"role": "system", "content": ""}, user("Hi")),
    chat({"role": "system", "content": "x-anthropic-billing-header: cch=1234\nBe brief."}, user("Hi")),
    chat({"role": "system", "content": texts("x-anthropic-billing-header: cch=1234", "Be brief.")}, user("Hi")),
    chat(user("Hi", name="anna")),
    chat(user("Hi"), said("Hello."), user("And then?")),
    chat(SYSTEM, user("Hi"), said("Hello."), user("And then?"), said("More."), user("Yes please")),
    chat(user("Hi"), said("Hello.", reasoning="They greet me."), user("And then?")),
    chat(user("Hi"), said("<think>\nThey greet me.\n</think>\n\nHello."), user("And then?")),
    chat(user("Hi"), said(None), user("Are you there?")),
    chat(user("Hi"), said(None, refusal="I will not."), user("Why?")),
    chat(user("Hi"), user("Are you there?")),
    chat(user("Hi"), said("Hello."), said("Still here."), user("Good.")),
    chat(DEVELOPER, user("Hi")),
    chat(SYSTEM, DEVELOPER, user("Hi")),
    chat(user("Hi"), DEVELOPER, user("Go on.")),
    chat(user("Hi"), {"role": "system", "content": "A late rule."}, user("Go on.")),
    chat(user("Hi"), said("Hello.")),
]
PARTS = [
    chat(user(texts("What colour is snow?"))),
    chat(user(texts("First.", "Second."))),
    chat(user(["First.", {"type": "text", "text": "Second.", "cache_control": {"type": "ephemeral"}}])),
    chat(user([])),
    chat(user(texts(""))),
    chat({"role": "system", "content": texts("Be", "brief.")}, user(texts("Hi")), said(texts("Hello.")), user("And then?")),
    chat(user("Hi"), said([{"type": "refusal", "refusal": "I will not."}]), user("Why?")),
    chat(SYSTEM, user(texts("What", "colour"), name="anna"), said(texts("White", "grey")), user(texts("Sure?"))),
]
CALLED = [
    with_tools(user("Weather in Oslo?")),
    with_tools(SYSTEM, user("Weather in Oslo?")),
    with_tools(DEVELOPER, user("Weather in Oslo?")),
    with_tools(user("Weather in Oslo?"), tool_choice="none"),
    with_tools(user("Weather in Oslo?"), tool_choice="required"),
    with_tools(user("Weather in Oslo?"), tool_choice={"type": "function", "function": {"name": "get_weather"}}),
    with_tools(user("Hi"), parallel_tool_calls=False, temperature=0.5, seed=7, response_format={"type": "json_object"}),
    with_tools(user("Hi"), chat_template_kwargs={"enable_thinking": False}),
    with_tools(user("Weather in Oslo?"), said(None, tool_calls=[OSLO]), result("5 degrees")),
    with_tools(user("Weather in Oslo?"), said("", tool_calls=[OSLO]), result(texts("5 degrees", "rain"))),
    with_tools(user("Oslo and Lima?"), said(None, tool_calls=[OSLO, LIMA]), result("5 degrees"), result("20 degrees", 2)),
    with_tools(SYSTEM, user("Oslo?"), said("Let me look.", tool_calls=[OSLO]), result("5"), said("5 degrees."), user("Thanks")),
    with_tools(user("Ping"), said(None, tool_calls=[call("ping", "")]), result("")),
    with_tools(user("Ping"), said(None, tool_calls=[call("ping", '{"n": 1e3, "deep": {"a": [1, null, true, "ø"]}}')]), result("pong")),
    with_tools(user("Ping"), said(None, tool_calls=[call("ping", '{"cut": "sho')]), result("pong")),
    with_tools(user("Ping"), said(None, tool_calls=[call("ping", "[1, 2]")]), result("pong")),
    chat(user("Weather in Oslo?"), said(None, tool_calls=[OSLO]), result("5 degrees")),  # the client sends the tools no more
    with_tools(user("Hi"), said("Hello.", tool_calls=[]), user("Weather?")),
]
CHATS = [*PLAIN, *PARTS, *CALLED]
