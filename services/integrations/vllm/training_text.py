"""Renders a training row as it is served: the prompt as vLLM writes it, then what the model should answer, up to the end of its turn.

In: the served template, the body of a request, the right answer. Out: prompt and answer as text, or why the row is left out.
What a template adds to an answer by itself, such as an empty thinking block, is no part of the row: it was not corrected by anybody.
"""

import re
from datetime import datetime

from flywheel.errors import InvalidInput
from flywheel.training_set.example import Example
from flywheel.training_set.token_rows import LeftOut, LeftOutReason, RenderedRow
from services.integrations.vllm.chat_rendering import ChatTemplate, WireBody, WireMessage, render_prompt, render_with_answer

MARK = "\u2063answer\u2063"  # stands for an answer, to see what the template writes around it; no chat contains it

NOT_A_PREFIX = LeftOut(reason=LeftOutReason.NO_PREFIX, detail="the template opens a thinking block, or writes prompts in another way")


def training_row(template: ChatTemplate, example: Example, *, now: datetime) -> RenderedRow | LeftOut:
    """The row of one example."""
    return training_text(template, example.prompt.to_wire(), example.answer.to_wire(), now=now)


def training_text(template: ChatTemplate, body: WireBody, answer: WireMessage, *, now: datetime) -> RenderedRow | LeftOut:
    """``now`` is for templates that print the date: a fixed one, or a run that is resumed would train on other rows."""
    mark = {"role": "assistant", "content": MARK}
    try:
        prompt = render_prompt(template, body, now=now)
        whole = render_with_answer(template, body, answer, now=now)
        marked = render_with_answer(template, body, mark, now=now)
    except InvalidInput as error:
        return LeftOut(reason=LeftOutReason.REFUSED_BY_TEMPLATE, detail=error.reason)
    before, found, after = marked.removeprefix(prompt).partition(MARK)
    if not whole.startswith(prompt) or not marked.startswith(prompt) or not found:
        return NOT_A_PREFIX
    said = whole[len(prompt) :]
    if not all(text in said for text in _texts(answer)):
        return LeftOut(reason=LeftOutReason.REFUSED_BY_TEMPLATE, detail="the chat template does not write the answer")
    if before.strip():  # more than white space, which the model has to write
        if not _opens_nothing(template, body, mark, prompt, now):
            return NOT_A_PREFIX
        said = said.removeprefix(before)
    turn_end = re.match(r"\s*\S+", after)
    if turn_end is not None and said.endswith(after):
        return RenderedRow(prompt=prompt, answer=said.removesuffix(after) + turn_end[0])
    text, eos = said.rstrip(), template.special_tokens.get("eos_token", "")
    return RenderedRow(prompt=prompt, answer=text if text.endswith(eos) else text + eos)


def _opens_nothing(template: ChatTemplate, body: WireBody, mark: WireMessage, prompt: str, now: datetime) -> bool:
    """Whether an answer may follow the prompt at once, as it does in earlier turns; False where the prompt opens a thinking block."""
    earlier = {**body, "messages": [*body["messages"], mark]}
    try:
        return render_with_answer(template, earlier, {"role": "user", "content": "?"}, now=now).startswith(prompt + MARK)
    except InvalidInput:
        return False


def _texts(answer: WireMessage) -> list[str]:
    """What the rendered answer must contain: templates trim texts, and write arguments in their own way."""
    content = answer.get("content")
    return [content.strip() if isinstance(content, str) else "", *(call["function"]["name"] for call in answer.get("tool_calls") or ())]
