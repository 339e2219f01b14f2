"""The name of an adapter: a hash of its training plan, so equal plans are the same adapter.

In: a TrainingPlan. Out: the name that vLLM serves.
"""

import json
from dataclasses import asdict

from flywheel.ids import AdapterName, derive
from flywheel.retraining.plan import TrainingPlan


def adapter_name(plan: TrainingPlan) -> AdapterName:
    """``<workload>-<hash of the plan>``: equal plans have one name, different plans two."""
    return AdapterName(f"{plan.workload}-{derive('plan', json.dumps(asdict(plan), sort_keys=True)).rpartition('-')[2]}")
