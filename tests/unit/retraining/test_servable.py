"""What the engine would refuse is refused first."""

import pytest

from flywheel.retraining.servable import objections

GOOD = {
    "peft_type": "LORA",
    "r": 16,
    "bias": "none",
    "init_lora_weights": True,
    "use_dora": False,
    "modules_to_save": None,
    "rank_pattern": {},
}
TENSORS = [
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
    "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
]


def test_a_plain_adapter_is_fine() -> None:
    assert objections(config=GOOD, tensors=TENSORS, not_finite=(), max_rank=16) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"use_dora": True},
        {"bias": "all"},
        {"lora_bias": True},
        {"modules_to_save": ["lm_head"]},
        {"r": 32},
        {"rank_pattern": {"q_proj": 64}},
        {"init_lora_weights": "pissa_niter_4"},
        {"peft_type": "IA3"},
        {"layer_replication": [[0, 4]]},
        {"r": None},
    ],
)
def test_each_refusal_of_the_engine_has_its_objection(change: dict[str, object]) -> None:
    assert len(objections(config={**GOOD, **change}, tensors=TENSORS, not_finite=(), max_rank=16)) == 1


def test_other_tensors_and_none_at_all_are_refused() -> None:
    assert objections(config=GOOD, tensors=[*TENSORS, "base_model.model.lm_head.weight"], not_finite=(), max_rank=16)
    assert objections(config=GOOD, tensors=[], not_finite=(), max_rank=16)


def test_weights_that_are_not_finite_are_refused_with_the_tensor_s_name() -> None:
    (reason,) = objections(config=GOOD, tensors=TENSORS, not_finite=TENSORS[1:], max_rank=16)
    assert reason == f"weights hold NaN or infinity in 1 of 2 tensors, the first is {TENSORS[1]}"
