"""Can vLLM serve this adapter? Checked when training ends, and before loading it.

In: the content of adapter_config.json, the names of the tensors, which of them hold NaN or infinity, the engine's highest rank. Out: the
reasons why it cannot be served. Reading the files is not done here.
Rules as in vLLM 0.32, vllm/lora/peft_helper.py and lora_model.py. vLLM itself loads weights that are not finite, and then answers 500.
"""

from collections.abc import Mapping, Sequence

UNSUPPORTED_INITS = ("pissa", "olora", "corda", "loftq")
UNSUPPORTED_SWITCHES = ("use_dora", "lora_bias", "use_bdlora", "use_qalora", "layer_replication", "alora_invocation_tokens")


def objections(*, config: Mapping[str, object], tensors: Sequence[str], not_finite: Sequence[str], max_rank: int) -> tuple[str, ...]:
    """Empty when the adapter can be served."""
    found = [f"{key} is set, which the engine does not support" for key in UNSUPPORTED_SWITCHES if config.get(key)]
    if config.get("peft_type") != "LORA":
        found.append(f"peft_type is {config.get('peft_type')!r}, not 'LORA'")
    if config.get("bias", "none") != "none":
        found.append(f"bias is {config.get('bias')!r}, not 'none'")
    if str(config.get("init_lora_weights", "")).split("_")[0].lower() in UNSUPPORTED_INITS:
        found.append(f"init_lora_weights {config.get('init_lora_weights')!r} changes the base, which is served unchanged")
    if config.get("modules_to_save"):
        found.append(f"modules_to_save {config.get('modules_to_save')!r} are not LoRA weights")
    rank = _highest_rank(config)
    if rank is None or rank > max_rank:
        found.append(f"rank {rank} is over the engine's highest rank {max_rank}")
    strange = [name for name in tensors if not name.endswith((".lora_A.weight", ".lora_B.weight"))]
    if strange:
        found.append(f"{len(strange)} tensors are not LoRA weights, the first is {strange[0]}")
    if not_finite:
        found.append(f"weights hold NaN or infinity in {len(not_finite)} of {len(tensors)} tensors, the first is {not_finite[0]}")
    if not tensors:
        found.append("it has no tensors")
    return tuple(found)


def _highest_rank(config: Mapping[str, object]) -> int | None:
    pattern = config.get("rank_pattern")
    ranks = [config.get("r"), *(pattern.values() if isinstance(pattern, Mapping) else ())]
    return max(rank for rank in ranks if isinstance(rank, int)) if any(isinstance(rank, int) for rank in ranks) else None
