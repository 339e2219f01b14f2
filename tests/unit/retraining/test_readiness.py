"""Red stops a run, a warning is written down."""

from dataclasses import replace

from flywheel.retraining.readiness import Light, ReadinessFacts, ReadinessPolicy, judge

READY = ReadinessFacts(
    training_corrections=600, contradictions=0, knowledge_gaps=0, decided=700, golden=300, safety=40, general=60, base_found=True
)


def light(**changes: object) -> Light:
    return judge(facts=replace(READY, **changes), policy=ReadinessPolicy()).light  # type: ignore[arg-type]


def test_all_green_says_so() -> None:
    ready = judge(facts=READY, policy=ReadinessPolicy())
    assert (ready.light, ready.reason) == (Light.GREEN, "all green")


def test_a_few_examples_warn_and_nearly_none_stop() -> None:
    assert light(training_corrections=150) is Light.WARN
    assert light(training_corrections=3) is Light.RED


def test_without_a_golden_set_there_is_no_run() -> None:
    assert light(golden=0) is Light.RED
    assert light(golden=60) is Light.WARN


def test_a_task_that_contradicts_itself_is_not_stable() -> None:
    assert light(contradictions=100) is Light.WARN
    assert light(contradictions=400) is Light.RED


def test_gaps_of_sources_warn() -> None:
    assert light(knowledge_gaps=300) is Light.WARN


def test_no_base_model_no_run() -> None:
    ready = judge(facts=replace(READY, base_found=False), policy=ReadinessPolicy())
    assert ready.light is Light.RED
    assert "serving.model" in ready.reason


def test_nothing_decided_yet_divides_by_nothing() -> None:
    assert light(decided=0, training_corrections=0) is Light.RED
