"""What of a prompt belongs to the task: messages, tools, and the fields that change what is asked or how the prompt is written.

In: a Prompt. Out: the Prompt without sampling, accounting and names of users. Training rows and gate requests hold nothing else.
"""

from dataclasses import replace

from flywheel.traffic.exchange import Prompt

TASK_SETTINGS = frozenset(
    {
        *("tool_choice", "parallel_tool_calls", "response_format", "structured_outputs", "stop"),
        *("chat_template_kwargs", "reasoning_effort", "documents"),
        *("add_generation_prompt", "continue_final_message", "add_special_tokens", "truncate_prompt_tokens"),
    }
)


def task_prompt(prompt: Prompt) -> Prompt:
    """The temperature, seeds, limits, users and metadata of a request say nothing about its task."""
    return replace(prompt, settings={key: value for key, value in prompt.settings.items() if key in TASK_SETTINGS})
