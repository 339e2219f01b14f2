"""``serving.extra_args``: further arguments of the vLLM that the daemon starts. Those that it sets by itself are refused.

In: the list of the settings. Out: a fault for each argument that would change what the daemon, training or the gateway rely on.
vLLM takes ``--max_loras``, ``--max-loras=4`` and unambiguous abbreviations such as ``--max-lor`` too.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from flywheel.errors import shortened
from services.settings.faults import Fault

OWN: Mapping[str, str] = {
    "--model": "Set serving.model.",
    "--served-model-name": "Leave it out: the base model is asked for as `base`.",
    "--port": "Set serving.port.",
    "--host": "Leave it out: this vLLM listens on 127.0.0.1. For another address start it yourself, and set serving.url.",
    "--uds": "Leave it out: the daemon asks over HTTP. Start it yourself, and set serving.url.",
    "--api-key": "Set serving.key_file: a command line is readable for every user of the host.",
    "--enable-lora": "Leave it out: adapters are always enabled.",
    "--lora-modules": "Leave it out: adapters are loaded by the release controller.",
    "--max-loras": "Set serving.max_loras.",
    "--max-cpu-loras": "Leave it out: it follows serving.max_loras.",
    "--max-lora-rank": "Set serving.max_lora_rank.",
    "--lora-target-modules": "Set serving.lora_modules.",
    "--max-model-len": "Set serving.max_model_len.",
    "--dtype": "Leave it out: adapters are checked against a replay in bfloat16.",
    "--chat-template": "Set serving.chat_template.",
    "--default-chat-template-kwargs": "Set serving.chat_template_kwargs.",
    "--chat-template-content-format": "Leave it out: it follows from the template, for serving and training alike.",
    "--trust-request-chat-template": "Leave it out: training renders the template that serves.",
    "--exclude-tools-when-tool-choice-none": "Leave it out: training renders tools as they were sent.",
    "--enable-auto-tool-choice": "Leave it out: tools are always enabled where the template and a parser allow it.",
    "--tool-call-parser": "Set serving.tool_parser.",
    "--reasoning-parser": "Set serving.reasoning_parser.",
    "--tokenizer": "Leave it out: training uses the tokenizer in the model's folder.",
    "--tokenizer-mode": "Leave it out: training uses the tokenizer in the model's folder.",
    "--skip-tokenizer-init": "Leave it out: chats need the tokenizer.",
    "--enable-prompt-embeds": "Leave it out: it adds a token that training does not know.",
    "--api-server-count": "Leave it out: vLLM loads adapters at run time with one API server only.",
    "--headless": "Leave it out: the gateway needs the API server.",
    "--tokens-only": "Leave it out: the gateway needs the chat API.",
    "--ssl-keyfile": "Leave it out: the daemon asks over HTTP on 127.0.0.1. Start it yourself, and set serving.url.",
    "--ssl-certfile": "Leave it out: the daemon asks over HTTP on 127.0.0.1. Start it yourself, and set serving.url.",
    "--config": "Write its arguments here: a file could hold any of those that the daemon sets.",
}
"""Options of vLLM that are not for extra_args, and what to do instead."""
ADDRESS = re.compile(r"--.*-(host|port|addr|address|ip)")


def argument_faults(arguments: Sequence[str], where: str) -> Iterator[Fault]:
    """``where``: path of the list."""
    for index, argument in enumerate(arguments):
        at, value = f"{where}.{index}", shortened(argument.partition("=")[0])  # without the option's value, which may be a secret
        name = argument.partition("=")[0].replace("_", "-")
        if "\0" in argument:
            yield Fault(where=at, reason="contains a NUL character", value=value, remedy="Remove it.")
        elif index == 0 and not argument.startswith("-"):
            yield Fault(
                where=at, reason="is a value without an option before it", value=value, remedy="Begin with an option such as --seed."
            )
        elif not name.startswith("--"):
            continue
        elif (option := _own(name)) is not None:
            reason = (
                "is set by the daemon" if name in (option, _switched_off(option)) else f"may be read as {option}, which the daemon sets"
            )
            yield Fault(where=at, reason=reason, value=value, remedy=OWN[option])
        elif ADDRESS.fullmatch(name):
            remedy = "Leave it out. For a vLLM on several hosts start it yourself, and set serving.url."
            yield Fault(where=at, reason="opens or uses a further address", value=value, remedy=remedy)


def _own(name: str) -> str | None:
    """The option of the daemon's that vLLM would take ``name`` for."""
    exact = (option for option in OWN if name in (option, _switched_off(option)))
    return next(exact, None) or next((option for option in OWN if len(name) > 2 and option.startswith(name)), None)


def _switched_off(option: str) -> str:
    return option.replace("--", "--no-", 1)
