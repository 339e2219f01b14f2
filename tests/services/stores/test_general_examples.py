"""General rows as people write them: editors, line ends and separators; an unreadable one is one sentence."""

import json
from pathlib import Path

import pytest

from flywheel.errors import InvalidInput
from services.stores.general_examples import read_general_rows

ROW = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say it"}], "completion": "said"}


def written(path: Path, content: bytes) -> Path:
    file = path / "general.jsonl"
    file.write_bytes(content)
    return file


def row(completion: str) -> bytes:
    return json.dumps({**ROW, "completion": completion}, ensure_ascii=False).encode()


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_a_line_separator_inside_a_text_ends_no_row(tmp_path: Path, separator: str) -> None:
    escaped = json.dumps(separator) if separator < " " else f'"{separator}"'  # JSON wants control characters escaped
    content = row("one-two").replace(b"-", escaped[1:-1].encode())
    assert [found.completion for found in read_general_rows(written(tmp_path, content + b"\n"))] == [f"one{separator}two"]


def test_byte_order_mark_crlf_and_empty_lines_are_understood(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + row("a") + b"\r\n\r\n" + row("b") + b"\r\n"
    assert [found.completion for found in read_general_rows(written(tmp_path, content))] == ["a", "b"]


def test_tools_calls_and_results_are_taken_as_in_a_chat_request(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    asked = [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    tools = [{"type": "function", "function": {"name": "add"}}]
    rich = {"messages": [*asked, {"role": "tool", "tool_call_id": "c1", "content": "4"}], "tools": tools, "completion": "Four."}
    calls = {"messages": asked[:1], "tools": tools, "completion": '{"tool": "add", "arguments": {"a": 2}}'}
    content = "\n".join(json.dumps(one) for one in (rich, calls, {**calls, "tools": [*tools, *tools]})).encode()
    first, second, third = read_general_rows(written(tmp_path, content))
    assert first.prompt.to_wire() == {"messages": rich["messages"], "tools": tools}
    assert [(one.name, one.value) for one in second.answer.tool_calls] == [("add", {"a": 2})]
    assert len({first.id, second.id, third.id}) == 3


def test_the_id_of_a_plain_row_is_that_of_earlier_versions(tmp_path: Path) -> None:
    (found,) = read_general_rows(written(tmp_path, row("said")))
    assert found.id == "general-23433a4f0b719485"


def test_a_file_without_rows_has_none(tmp_path: Path) -> None:
    assert read_general_rows(written(tmp_path, b"\xef\xbb\xbf\r\n")) == []


@pytest.mark.parametrize(
    ("line", "where", "reason", "value"),
    [
        (b'{"messages": [}', "", "is not JSON", "15 bytes"),
        (b"[1]", "", "must be a JSON object", "a list"),
        (b'{"prompt": "c"}', "messages", "must be a list of messages", None),
        (b'{"messages": [], "completion": "b"}', "messages", "must be a list of messages", "a list"),
        (b'{"messages": ["a"], "completion": "b"}', "messages.0", "must be an object with role and content", "a"),
        (b'{"messages": [{"role": "human", "content": "a"}], "completion": "b"}', "messages.0.role", "must be one of system,", "human"),
        (b'{"messages": [{"role": ["user"], "content": "a"}], "completion": "b"}', "messages.0.role", "must be one of", "a list"),
        (b'{"messages": [{"role": "user", "content": 7}], "completion": "b"}', "messages.0.content", "must be text", 7),
        (b'{"messages": [{"role": "user"}], "completion": "b"}', "messages.0.content", "must be text", None),
        (b'{"messages": [{"role": "user", "content": "a"}], "completion": "b", "tools": {}}', "tools", "a list of tools", "a mapping"),
        (b'{"messages": [{"role": "user", "content": "a"}], "completion": " "}', "completion", "must be a text that is not empty", " "),
        (b'{"messages": [{"role": "user", "content": "a"}], "completion": {"b": 1}}', "completion", "must be a text", "a mapping"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}], "completion": "b"}', "", "is not JSON", "72 bytes"),
        (b'{"messages": [{"role": "user", "content": "\xe9"}], "completion": "b"}', "", "is not JSON", "67 bytes"),
        (b"[" * 100_000, "", "is not JSON", "100000 bytes"),
    ],
)
def test_an_unreadable_row_is_a_sentence_with_line_value_and_remedy(
    tmp_path: Path, line: bytes, where: str, reason: str, value: object
) -> None:
    file = written(tmp_path, row("fine") + b"\n\n" + line + b"\n")
    with pytest.raises(InvalidInput) as caught:
        read_general_rows(file)
    error = caught.value
    assert error.where == f"{file}:3: {where}".removesuffix(": ")
    assert reason in error.reason
    assert (error.value, error.remedy.partition(" ")[0]) == (value, "Write")


def test_a_file_in_utf_16_or_of_nobody_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"is text in UTF-16.*UTF-8"):
        read_general_rows(written(tmp_path, json.dumps(ROW).encode("utf-16")))
    with pytest.raises(InvalidInput, match=r"cannot be read: No such file.*training\.general_file"):
        read_general_rows(tmp_path / "missing.jsonl")
