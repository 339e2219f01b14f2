"""Rows counted in tokens where they are gathered, with the model's tokenizer file and the chat template that serves."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from flywheel.errors import InvalidInput
from flywheel.ids import SnapshotId
from flywheel.retraining.plan import TrainingPolicy
from flywheel.training_set.example import Example
from flywheel.training_set.snapshot import Snapshot
from flywheel.training_set.token_rows import LeftOutReason, TokenRows
from services.retrain_scheduler.wiring import base_digest, count_rows
from services.settings import Settings
from tests.learning import ROUTER, ask
from tests.unit.integrations.test_chat_template import CHATML, shipped

POLICY = TrainingPolicy(max_length=40)


def a_model(folder: Path, template: str = CHATML) -> Path:
    """A tokenizer of words, and no weights worth the name."""
    folder.mkdir(exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    (folder / "chat_template.jinja").write_text(template)
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def a_snapshot(*lengths: int) -> Snapshot:
    """Rows with prompts of so many words."""
    examples = tuple(
        Example(id=f"x{at}", messages=ask(" word" * length), completion="yes", entity="e", source="correction")
        for at, length in enumerate(lengths)
    )
    return Snapshot(id=SnapshotId("s"), workload=ROUTER, cut_off=datetime(2026, 1, 1, tzinfo=UTC), examples=examples)


def settings(model: Path | None, **serving: object) -> Settings:
    return Settings.model_validate({"serving": {"model": model, **serving}})


def test_long_prompts_are_counted_before_anything_is_trained(tmp_path: Path) -> None:
    found = count_rows(settings(a_model(tmp_path / "model")), a_snapshot(600, 10, 600), POLICY)
    assert isinstance(found, TokenRows)
    assert (len(found.rows), found.left_out) == (1, {LeftOutReason.TOO_LONG: 2})


def test_rows_that_the_served_template_refuses_are_counted_by_its_reason(tmp_path: Path) -> None:
    model = a_model(tmp_path / "model", shipped("gemma"))
    found = count_rows(settings(model), a_snapshot(5), POLICY)
    assert isinstance(found, TokenRows)
    assert found.told == "1 refused by the chat template (the chat template refuses it: System role not supported)"
    chosen = tmp_path / "chosen.jinja"
    chosen.write_text(CHATML)
    other = count_rows(settings(model, chat_template=chosen), a_snapshot(5), POLICY)
    assert isinstance(other, TokenRows)
    assert other.left_out == {}


def test_where_the_model_or_its_tokenizer_is_missing_the_reason_is_told(tmp_path: Path) -> None:
    assert count_rows(settings(None), a_snapshot(5), POLICY) == "the base model's files are not on this machine"
    (a_model(tmp_path / "model") / "tokenizer.json").write_text("{")
    assert "tokenizer.json: the tokenizer cannot be read" in str(count_rows(settings(tmp_path / "model"), a_snapshot(5), POLICY))


def test_a_template_that_cannot_be_used_is_an_error_of_the_settings(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen.jinja"
    chosen.write_text("no chat")
    with pytest.raises(InvalidInput, match=str(chosen)):
        count_rows(settings(a_model(tmp_path / "model"), chat_template=chosen), a_snapshot(5), POLICY)


def test_another_served_template_is_another_base(tmp_path: Path) -> None:
    """Adapters are trained on the text that it writes; the model's own template is among the files that count already."""
    model = a_model(tmp_path / "model", shipped("qwen2_5"))
    own = base_digest(settings(model))
    chosen = tmp_path / "chosen.jinja"
    chosen.write_text(CHATML)
    others = [settings(model, chat_template=chosen), settings(model, chat_template_kwargs={"enable_thinking": False})]
    assert len({own, *(base_digest(one) for one in others)}) == 3
    assert own == base_digest(settings(model, tool_parser="hermes"))
