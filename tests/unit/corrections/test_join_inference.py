from dataclasses import replace

import pytest

from flywheel.corrections.correction import InlineRequest
from flywheel.corrections.join_inference import JoinOutcome, declared_entity, join
from flywheel.traffic.exchange import Prompt
from tests.learning import ask, correction, inference


def test_the_recorded_request_wins_over_an_inline_one() -> None:
    decision = join(
        correction=correction(inline=InlineRequest(messages=ask("as the tool remembers it")), original="from memory"),
        request=inference("r-c1", "as it was", answer="as it was said", dimensions={"function": "send"}),
        entity_keys=("dim:customer", "dim:function"),
    )
    assert decision.outcome is JoinOutcome.JOINED
    assert decision.joined is not None
    assert decision.joined.messages == ask("as it was")
    assert decision.joined.original == "as it was said"
    assert decision.joined.entity == "function=send"
    assert decision.joined.joined


def test_the_tools_of_the_request_are_joined_and_its_sampling_and_user_are_not() -> None:
    request = inference("r-c1", "as it was")
    prompt = replace(request.exchange.prompt, tools=({"type": "function"},), settings={"tool_choice": "auto", "user": "anna", "top_p": 1})
    request = replace(request, exchange=replace(request.exchange, prompt=prompt))
    decision = join(correction=correction(), request=request, entity_keys=())
    assert decision.joined is not None
    assert decision.joined.prompt == replace(prompt, settings={"tool_choice": "auto"})


def test_an_inline_request_stands_where_nothing_is_recorded() -> None:
    inline = InlineRequest(messages=ask("inline"), tools=({"type": "function"},), dimensions={"tenant": "acme", "function": "send"})
    decision = join(correction=correction(request_id=None, inline=inline), request=None, entity_keys=("dim:function",))
    assert decision.outcome is JoinOutcome.INLINE
    assert decision.joined is not None
    assert not decision.joined.joined
    assert decision.joined.prompt == Prompt(messages=ask("inline"), tools=({"type": "function"},))
    assert (decision.joined.entity, decision.joined.dimensions) == ("function=send", inline.dimensions)


def test_an_inline_request_with_a_picture_never_trains() -> None:
    inline = InlineRequest(messages=ask("what is it?"), left_out=("messages[1].content[0].image_url.url",))
    decision = join(correction=correction(request_id=None, inline=inline), request=None, entity_keys=())
    assert decision.outcome is JoinOutcome.CUT
    assert "messages[1].content[0].image_url.url is not kept as it was sent" in decision.reason


def test_a_request_that_is_not_recorded_yet_is_no_refusal() -> None:
    assert join(correction=correction(), request=None, entity_keys=()).outcome is JoinOutcome.NOT_RECORDED


@pytest.mark.parametrize(("status", "inline", "original"), [(502, None, None), (499, "It was worse.", "It was worse."), (499, None, None)])
def test_half_of_an_answer_is_no_original(status: int, inline: str | None, original: str | None) -> None:
    request = inference("r-c1", "as it was", answer="It was wo", status=status)
    decision = join(correction=correction(original=inline), request=request, entity_keys=())
    assert decision.joined is not None
    assert (decision.joined.messages, decision.joined.original) == (ask("as it was"), original)


def test_a_cut_request_never_trains() -> None:
    decision = join(correction=correction(), request=inference("r-c1", truncated=True), entity_keys=())
    assert decision.outcome is JoinOutcome.CUT
    assert decision.joined is None


def test_without_a_declared_dimension_there_is_no_declared_entity() -> None:
    assert declared_entity({"tenant": "acme"}, ("dim:function",)) == ""
