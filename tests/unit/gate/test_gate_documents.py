"""Gate decisions as documents: written and read back alike, in the flat form that every release has read."""

from dataclasses import replace

from flywheel.gate.axes import AxisPolicy, IncorrectAnswer, PairedCounts, Role
from flywheel.gate.axis_verdict import judge, judge_counts
from flywheel.gate.decide import decide
from flywheel.gate.documents import axis_document, decision_document, decision_of

BETTER = AxisPolicy(name="golden", role=Role.SUPERIORITY, margin=0.05, alpha=0.0125, divided_by=2)
NOT_WORSE = AxisPolicy(name="general", role=Role.NON_INFERIORITY, margin=0.1, alpha=0.01, reason="small")
CLUSTERED = judge(
    policy=NOT_WORSE,
    baselines={"champion": [True] * 60, "base": [True, False] * 30},
    challenger=[True] * 58 + [False] * 2,
    entities=[str(at // 3) for at in range(60)],
)
INDEPENDENT = judge_counts(policy=BETTER, arm="base", counts=PairedCounts(both=10, wins=20, losses=1, neither=3))


def test_a_decision_is_read_back_as_it_was_written() -> None:
    decision = replace(decide(axes=[CLUSTERED, INDEPENDENT], not_judged=["safety"]), unanswerable=("case-1",))
    decision = replace(decision, incorrect=(IncorrectAnswer(case="case-2", reason="argument day is missing", arguments={"day": 0.0}),))
    assert decision_of(decision_document(decision)) == decision


def test_the_document_of_an_axis_is_flat() -> None:
    document = axis_document(CLUSTERED)
    assert document["entities"] == 20
    assert (document["likeness_is"], document["needs_n"]) != ("", "")
    assert not any(isinstance(value, dict) for name, value in document.items() if name != "others")
    assert document["others"] == {"base": {"both": 29, "wins": 29, "losses": 1, "neither": 1}}


def test_a_document_with_the_fields_of_an_older_release_is_read() -> None:
    older = decision_document(decide(axes=[INDEPENDENT]))
    del older["not_judged"], older["unanswerable"], older["incorrect"]
    axis = dict(axis_document(INDEPENDENT))
    for name in ("others", "entity_size", "design_effect", "likeness", "likeness_is", "least_wins", "smallest_n", "p_is", "margin_reason"):
        del axis[name]
    read = decision_of({**older, "axes": [axis]})
    assert read.axes[0].test.p == INDEPENDENT.test.p
    assert read.axes[0].required.least_wins is None
