"""Makes the case of an accepted correction.

In: the correction with its request, its outcome, the texts with surrogates in place of pseudonyms. Out: a Case of tier recurrence or
held-out. Whether it is accepted is not decided here.
"""

from collections.abc import Sequence
from datetime import datetime

from flywheel.comparison import ComparisonPolicy
from flywheel.corrections.acceptance import CorrectionOutcome
from flywheel.corrections.correction import JoinedCorrection
from flywheel.ids import EVERYTHING, CaseId, derive
from flywheel.regression_suite.case import Case, Tier
from flywheel.regression_suite.grade import grader_of
from flywheel.traffic.exchange import Prompt


def case_of(
    *,
    joined: JoinedCorrection,
    outcome: CorrectionOutcome,
    prompt: Prompt,
    corrected: str,
    slice_dimensions: Sequence[str],
    comparison: ComparisonPolicy,
    now: datetime,
) -> Case:
    """Its id derives from the correction's: accepted twice, it is one case. Its slice is that of the first dimension it has."""
    correction = joined.correction
    named = next((f"{name}={joined.dimensions[name]}" for name in slice_dimensions if name in joined.dimensions), EVERYTHING)
    return Case(
        id=CaseId(derive("case", correction.workload, correction.id)),
        workload=correction.workload,
        tier=Tier.HELD_OUT if outcome.held_out else Tier.RECURRENCE,
        messages=prompt.messages,
        grader=grader_of(corrected, original=joined.original, comparison=comparison),
        entity=outcome.entity,
        slice=named,
        correction=correction.id,
        reference_answer=corrected,
        verified_by=correction.author,
        created_at=now,
        tools=prompt.tools,
        settings=prompt.settings,
    )
