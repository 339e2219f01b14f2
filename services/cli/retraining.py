"""``flywheel train``: asks for a training run."""

from uuid import uuid4

from services.cli.options import AsJson, Config, Reason, TokenFile, WorkloadName, chosen_workload, open_api
from services.cli.output import print_json, print_next_step, print_sentence


def train(reason: Reason, workload: WorkloadName = None, json: AsJson = False, config: Config = None, token_file: TokenFile = None) -> None:
    """Ask for a training run. It starts when the data is ready; never in mode observe."""
    api, settings = open_api(config, token_file)
    name = chosen_workload(settings, workload)
    answer = api.post("/v1/train", {"workload": name, "reason": reason}, once=uuid4().hex)
    if json:
        print_json(answer)
        return
    print_sentence(f"Asked for: {answer.get('id')} ({answer.get('state')}).")
    print_next_step("flywheel release status shows the run, its gate and its release")
