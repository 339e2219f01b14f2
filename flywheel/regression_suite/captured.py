"""Makes the case of an accepted correction.

In: the correction with its request (pseudonyms already replaced by surrogates), its entity, held out or not. Out: a Case of tier
recurrence or held-out. Whether it is accepted is not decided here.
"""

from collections.abc import Sequence
from datetime import datetime

from flywheel.corrections.correction import Correction
from flywheel.ids import CaseId, derive
from flywheel.regression_suite.case import Case, Tier
from flywheel.regression_suite.grade import grader_of
from flywheel.traffic.inference import Message


def case_of(
    *,
    correction: Correction,
    messages: Sequence[Message],
    corrected: str,
    entity: str,
    held_out: bool,
    now: datetime,
    slice_name: str = "all",
) -> Case:
    """The case's id derives from the correction's: accepted twice, it is one case."""
    return Case(
        id=CaseId(derive("case", correction.workload, correction.id)),
        workload=correction.workload,
        tier=Tier.HELD_OUT if held_out else Tier.RECURRENCE,
        messages=tuple(messages),
        grader=grader_of(corrected),
        entity=entity,
        slice=slice_name,
        correction=correction.id,
        reference_answer=corrected,
        verified_by=correction.author,
        created_at=now,
    )
