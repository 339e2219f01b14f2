"""QLoRA by TRL, PEFT and bitsandbytes. Only this module imports these libraries, and only the training process imports it.

In: a plan, rows of token ids, the base model's folder. Out: adapter_config.json and adapter_model.safetensors, and the probe's replay.
``stores.adapter_files`` adds the manifest, probe and model card.
The same code runs on a GPU (bf16, paged 8-bit AdamW, gradient checkpointing) and on a CPU (float32, which
is 1.4 to 1.6 times faster there than bf16, with a slightly lower loss).
"""

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bitsandbytes
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from flywheel.errors import CannotRun, Refused
from flywheel.retraining.plan import TrainingPlan, TrainingPolicy
from flywheel.retraining.training_run import ProbeItem
from flywheel.training_set.token_rows import Encode, TokenRow
from services.ports.retraining import ADAPTER_CONFIG, ADAPTER_WEIGHTS, TrainedFiles

CHECKPOINTS_PER_RUN = 6
PROBED_TOKENS = 3  # tokens probed per example
_SUMMARY = "training.json"
_CHECKPOINT_FILES = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt")

Progress = Callable[[int, int, float], None]


class TrlQlora:
    """Trains LoRA adapters with TRL."""

    def encoder(self, base_path: str) -> Encode:
        """The tokenizer as vLLM loads it."""
        tokenizer = _tokenizer(base_path)
        return lambda text: tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    def train(self, plan: TrainingPlan, rows: Sequence[TokenRow], *, base_path: str, out: str, progress: Progress) -> TrainedFiles:
        """Writes checkpoints beside ``out``. An interrupted run resumes from the last complete one and writes the same bytes."""
        target = Path(out)
        if (target / _SUMMARY).exists():
            return _trained_files(target)
        policy = plan.policy
        checkpoints = target.parent / "checkpoints"
        torch.set_num_threads(policy.threads)  # another thread count gives other bits
        torch.manual_seed(policy.seed)  # before base and LoRA are built
        base = load_base(base_path, quantization=policy.quantization)
        trainer = _sft_trainer(base, _tokenizer(base_path), rows, policy, checkpoints, progress)
        began = time.monotonic()
        trainer.train(resume_from_checkpoint=_last_complete(checkpoints))
        seconds = time.monotonic() - began
        losses = [float(line["loss"]) for line in trainer.state.log_history if "loss" in line]
        if not losses or not all(math.isfinite(loss) for loss in losses):
            raise Refused(
                "the training loss is NaN or infinite, or no loss was logged", where=plan.snapshot, remedy="Lower training.learning_rate."
            )
        metrics = {
            "loss_first": losses[0],
            "loss_last": losses[-1],
            "rows": len(rows),
            "device": "cuda" if torch.cuda.is_available() else "cpu",
            "losses": losses,
        }
        _write_adapter(trainer.model, plan, target, steps=int(trainer.state.global_step), seconds=seconds, metrics=metrics)
        return _trained_files(target)

    def replay(self, rows: Sequence[TokenRow], *, base_path: str, adapter_path: str) -> tuple[ProbeItem, ...]:
        """Log-probabilities in bf16 without quantisation, as served: those of the NF4 model would differ too much."""
        model = PeftModel.from_pretrained(load_base(base_path, quantization="none", dtype=torch.bfloat16), adapter_path)
        model.eval()
        return tuple(
            item
            for row in rows
            for item in _single_tokens(row.prompt_ids, row.answer_ids, log_probabilities(model, row.prompt_ids, row.answer_ids))
        )


def _single_tokens(prompt: Sequence[int], answer: Sequence[int], replay: Sequence[float]) -> list[ProbeItem]:
    """Up to PROBED_TOKENS probe items per answer.

    Each has one answer token; its prompt includes the preceding answer tokens, because the server is queried one token at a time.
    """
    positions = sorted({round(step * (len(answer) - 1) / PROBED_TOKENS) for step in range(PROBED_TOKENS)})
    return [ProbeItem(prompt_ids=(*prompt, *answer[:at]), answer_ids=(answer[at],), replay=(replay[at],)) for at in positions]


def load_base(path: str, *, quantization: str, dtype: Any = None) -> Any:
    """The base model, ready to train.

    On a CPU with avx512_bf16 the first forward in eval mode re-packs every Linear4bit for a kernel without backward, and train()
    does not undo it: the loss looks normal, but gradients are wrong. This function disables that re-packing before the first forward
    pass.
    """
    on_gpu = torch.cuda.is_available()
    dtype = dtype or (torch.bfloat16 if on_gpu else torch.float32)
    four_bit = (
        BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)
        if quantization == "nf4"
        else None
    )
    if not Path(path, "config.json").is_file():
        raise CannotRun("there is no model", where=path, remedy="Set serving.model to the base model's folder.")
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, quantization_config=four_bit, local_files_only=True, device_map={"": 0} if on_gpu else None
    )
    for layer in model.modules():
        if isinstance(layer, bitsandbytes.nn.Linear4bit):
            layer.support_avx512bf16_for_cpu = False
    return model


def lora_config(policy: TrainingPolicy) -> LoraConfig:
    """Plain LoRA without bias: what the serving engine accepts."""
    everything = policy.target_modules == ("all-linear",)
    return LoraConfig(
        r=policy.rank,
        lora_alpha=policy.alpha,
        lora_dropout=policy.dropout,
        target_modules="all-linear" if everything else list(policy.target_modules),
        task_type="CAUSAL_LM",
    )


def to_float32(model: Any) -> None:
    """Makes the LoRA weights float32: TRL makes those of an NF4 model bf16, but a resumed run has float32, and the runs would differ."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def log_probabilities(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> tuple[float, ...]:
    """Natural log-probability of each answer token after the prompt and the answer so far."""
    ids = torch.tensor([[*prompt, *answer]], device=model.device)
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0].float().log_softmax(-1)
    return tuple(float(logits[len(prompt) + at - 1, token]) for at, token in enumerate(answer))


class _Reporter(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    """Reports each step and its loss, and stops a run whose loss is NaN or infinite."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002 (the library's signature)
        loss = float((logs or {}).get("loss", "nan"))
        if "loss" in (logs or {}):
            self._progress(int(state.global_step), int(state.max_steps), loss)
            if not math.isfinite(loss):
                control.should_training_stop = True


def _sft_trainer(
    model: Any, tokenizer: Any, rows: Sequence[TokenRow], policy: TrainingPolicy, checkpoints: Path, progress: Progress
) -> Any:
    on_gpu = torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(checkpoints),
        max_steps=policy.steps,
        per_device_train_batch_size=policy.batch,
        learning_rate=policy.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=policy.warmup_steps,
        max_grad_norm=1.0,
        max_length=policy.max_length,
        completion_only_loss=True,  # no loss on the prompt
        packing=False,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        gradient_checkpointing=on_gpu,
        optim="paged_adamw_8bit" if on_gpu else "adamw_torch",
        seed=policy.seed,
        data_seed=policy.seed,
        logging_steps=1,
        save_strategy="steps",
        save_steps=max(1, policy.steps // CHECKPOINTS_PER_RUN),
        save_total_limit=2,
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu,
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list([_in_trl_s_form(row) for row in rows]),
        processing_class=tokenizer,
        peft_config=lora_config(policy),
        callbacks=[_Reporter(progress)],
    )
    trainer.remove_callback(PrinterCallback)  # standard output is reserved for progress lines
    to_float32(trainer.model)
    return trainer


def _tokenizer(path: str) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    if tokenizer.eos_token_id is None:
        raise CannotRun("the tokenizer has no EOS token", where=path, remedy="Use an instruct model's files.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _in_trl_s_form(row: TokenRow) -> dict[str, list[int]]:
    """A row with ``input_ids`` is trained on as it is: TRL neither renders nor tokenizes it."""
    return {
        "input_ids": [*row.prompt_ids, *row.answer_ids],
        "completion_mask": [0] * len(row.prompt_ids) + [1] * len(row.answer_ids),
    }


def _last_complete(checkpoints: Path) -> str | None:
    """The newest complete checkpoint. Removes incomplete ones: a kill during a save leaves a folder without trainer_state.json."""
    found = sorted(checkpoints.glob("checkpoint-*"), key=lambda folder: int(folder.name.rpartition("-")[2]), reverse=True)
    for folder in found:
        try:
            json.loads((folder / "trainer_state.json").read_text())
            if all((folder / name).is_file() for name in _CHECKPOINT_FILES) and any(folder.glob("rng_state*.pth")):
                return str(folder)
        except (FileNotFoundError, json.JSONDecodeError):
            pass  # not complete: fall through to its removal
        shutil.rmtree(folder)
    return None


def _write_adapter(model: Any, plan: TrainingPlan, target: Path, *, steps: int, seconds: float, metrics: dict[str, Any]) -> None:
    """Writes to a temporary folder and renames it.

    Replaces the local model path and sorts ``target_modules``, so that equal runs write equal bytes.
    """
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial, safe_serialization=True)
    (partial / "README.md").unlink(missing_ok=True)  # the adapter's folder gets a model card of its own
    config = json.loads((partial / ADAPTER_CONFIG).read_text())
    config["base_model_name_or_path"] = plan.base
    if isinstance(config["target_modules"], list):
        config["target_modules"] = sorted(config["target_modules"])
    (partial / ADAPTER_CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True))
    (partial / _SUMMARY).write_text(json.dumps({"steps": steps, "seconds": round(seconds, 1), "metrics": metrics}))
    os.rename(partial, target)


def _trained_files(target: Path) -> TrainedFiles:
    summary = json.loads((target / _SUMMARY).read_text())
    return TrainedFiles(
        path=str(target),
        digest=_sha256_of(target / ADAPTER_WEIGHTS),
        steps=summary["steps"],
        seconds=summary["seconds"],
        metrics=summary["metrics"],
    )


def _sha256_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
