"""Items and files of the demo, from what ``make setup`` downloaded. Uses no network."""

import json
from collections.abc import Sequence
from pathlib import Path

from deploy import deploy_dir
from flywheel.errors import CannotRun
from services.cli.demo.tool_router import ToolItem, ToolRouterItems, load
from services.settings import Settings

BFCL_DATA = Path("var/packages/bfcl_eval/data")


def demo_items(settings: Settings) -> ToolRouterItems:
    """The split of the workload, counted in the served model's own tokens."""
    from tokenizers import Tokenizer

    tokenizer_file = Path(str(settings.serving.model)) / "tokenizer.json"
    if not tokenizer_file.exists():
        raise CannotRun("the base model is missing", where=str(tokenizer_file.parent), remedy="Run `make setup`.")
    tokenizer = Tokenizer.from_file(str(tokenizer_file))

    def count_tokens(messages: list[dict[str, str]]) -> int:
        served = "".join(f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in messages) + "<|im_start|>assistant\n"
        return len(tokenizer.encode(served).ids)

    return load(BFCL_DATA, count_tokens=count_tokens, count_answer=lambda text: len(tokenizer.encode(text).ids))


def golden_file(settings: Settings, items: Sequence[ToolItem]) -> Path:
    """The golden items in the form that ``flywheel golden import`` reads."""
    path = settings.data_dir / "golden.jsonl"
    rows = (
        {
            "tier": "golden",
            "messages": item.messages,
            "grader": {"kind": "tool_call", "expected": {"tool": item.function, "arguments": item.allowed}},
            "entity": item.function,
            "slice": f"tenant={item.tenant}",
            "reference_answer": item.answer,
            "verified_by": "Berkeley Function Calling Leaderboard",
        }
        for item in items
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def protected_file(axis: str) -> Path:
    """Our own general and safety items."""
    return deploy_dir() / "demo" / f"{axis}.jsonl"
