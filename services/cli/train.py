"""``flywheel train``: ask for a run."""

from uuid import uuid4

from services.cli.options import AsJson, Config, Reason, TokenFile, WorkloadName, opened, the_workload
from services.cli.show import as_json, next_step, said


def train(reason: Reason, workload: WorkloadName = None, json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """Ask for a training run. Readiness is judged first; mode observe never trains."""
    api, settings = opened(config, token_file)
    name = the_workload(settings, workload)
    answer = api.post("/v1/train", {"workload": name, "reason": reason}, once=uuid4().hex)
    if json:
        as_json(answer)
        return
    said(f"Asked for: {answer.get('id')} ({answer.get('state')}).")
    next_step("flywheel release status shows the run, its gate and its release")
