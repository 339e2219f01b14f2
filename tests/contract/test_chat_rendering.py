"""Our rendering of a chat against vLLM's own functions: the templates that TRL ships, and ours, with every kind of message."""

import json
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trl

from flywheel.errors import InvalidInput
from flywheel.training_set.token_rows import RenderedRow
from services.integrations.vllm.chat_rendering import render_prompt
from services.integrations.vllm.chat_template import ServedTemplate, served_template
from services.integrations.vllm.training_text import training_text
from tests.chats import CHATS, call, said, user, with_tools
from tests.served_vllm import ROOT

pytestmark = pytest.mark.serving
SHIPPED = Path(trl.__file__).parent / "chat_templates"
TEMPLATES = sorted(file for file in SHIPPED.glob("*.jinja") if not file.stem.endswith("_training"))
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DATED = ("strftime_now",)  # a template that prints today's date differs by the day


def read_template(file: Path, folder: Path) -> ServedTemplate:
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text(json.dumps(SPECIAL_TOKENS))
    (folder / "chat_template.jinja").write_text(file.read_text())
    return served_template(model=folder)


def by_vllm(cases: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    python = ROOT / ".venv-vllm/bin/python"
    if not python.exists():
        pytest.skip("no .venv-vllm: run `make setup`")
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run([python, ROOT / "tests/contract/vllm_renders.py"], input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_every_chat_is_rendered_as_vllm_renders_it(tmp_path: Path) -> None:
    served = {
        file.stem: read_template(file, tmp_path / file.stem) for file in TEMPLATES if not any(word in file.read_text() for word in DATED)
    }
    asked = [(name, one, body) for name, one in served.items() for body in CHATS]
    answers = by_vllm(
        [
            {"template": one.template.text, "special_tokens": SPECIAL_TOKENS, "format": one.template.content_format, "body": body}
            for _, one, body in asked
        ]
    )
    assert len(answers) == len(asked)
    differing, refused = [], 0
    for (name, one, body), answer in zip(asked, answers, strict=True):
        text = rendered(one, body)
        refused += text is None
        if text != answer.get("text"):
            differing.append((name, body["messages"], text, answer))
    assert differing == []
    assert refused < len(asked) / 4


def rendered(served: ServedTemplate, body: dict[str, Any]) -> str | None:
    """None where the template refuses it."""
    try:
        return render_prompt(served.template, body, now=NOW)
    except InvalidInput:
        return None


CALLS = [
    [("get_weather", {"city": "Oslo", "days": 2})],
    [("get_weather", {"city": 'Ås "here" </tool>', "deep": {"a": [1, None, True, 1.5]}}), ("ping", {})],
]


def test_trained_calls_are_read_by_the_parser_that_serves(tmp_path: Path) -> None:
    cases = []
    for name in ("llama3", "qwen2_5", "qwen3"):
        served = read_template(SHIPPED / f"{name}.jinja", tmp_path / name)
        for calls in CALLS:
            answer = said(None, tool_calls=[call(function, json.dumps(arguments)) for function, arguments in calls])
            row = training_text(served.template, with_tools(user("Go on.")), answer, now=NOW)
            assert isinstance(row, RenderedRow)
            text = re.sub(r"<\|[a-z_]+\|>$", "", row.answer)  # the end of the turn is not part of the text that is parsed
            cases.append({"parser": served.tool_parser, "text": text})
    read = by_vllm(cases)
    assert [[(function, json.loads(arguments)) for function, arguments in one["calls"]] for one in read] == CALLS * 3
    assert {one["content"] for one in read} == {None}
