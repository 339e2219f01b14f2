"""The adapter's name is its plan."""

from dataclasses import replace

from flywheel.ids import AdapterName, SnapshotId, WorkloadId
from flywheel.retraining.adapter_name import adapter_name
from flywheel.retraining.plan import TrainingPolicy, make_edited_plan, make_plan

PLAN = make_plan(
    snapshot=SnapshotId("snapshot-1"),
    workload=WorkloadId("router"),
    base="base",
    base_digest="d" * 64,
    policy=TrainingPolicy(),
    versions={"torch": "2.13.0", "trl": "1.16.0"},
)


def test_equal_plans_are_the_same_adapter() -> None:
    again = replace(PLAN, versions=dict(reversed(PLAN.versions.items())))
    assert adapter_name(PLAN) == adapter_name(again)
    assert adapter_name(PLAN).startswith("router-")


def test_whatever_changes_the_bytes_changes_the_name() -> None:
    others = [
        replace(PLAN, policy=TrainingPolicy(seed=8)),
        replace(PLAN, policy=TrainingPolicy(threads=1)),
        replace(PLAN, snapshot=SnapshotId("snapshot-2")),
        replace(PLAN, base_digest="e" * 64),
        replace(PLAN, versions={"torch": "2.14.0", "trl": "1.16.0"}),
        make_edited_plan(parent=adapter_name(PLAN), parent_plan=PLAN, edit="lora_B x 2"),
    ]
    assert len({adapter_name(plan) for plan in [PLAN, *others]}) == len(others) + 1


def test_an_edited_plan_names_its_parent() -> None:
    edited = make_edited_plan(parent=AdapterName("router-1"), parent_plan=PLAN, edit="lora_B x 0")
    assert (edited.method, edited.parent, edited.snapshot) == ("edited", "router-1", PLAN.snapshot)


def test_without_quantisation_it_is_not_called_qlora() -> None:
    plan = make_plan(
        snapshot=PLAN.snapshot,
        workload=PLAN.workload,
        base="base",
        base_digest="d",
        policy=TrainingPolicy(quantization="none"),
        versions={},
    )
    assert plan.method == "lora-sft"
