"""The corrections of a day: what tools hand in, how, and what must become of each. Values only."""

import codecs
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.day_script import CALLED, MAIL, PHONE, RESULTS, TRACK, user

CREATED_AT = "2026-03-01T12:00:00Z"
Lookup = Callable[[str, str], str]
"""``(name of a deed, field of its record)`` -> the id."""


@dataclass(frozen=True, kw_only=True)
class HandedIn:
    """One correction. ``about``: the deed that it corrects, and the field of the record that holds the id which the tool has."""

    id: str
    body: Mapping[str, Any]
    about: tuple[str, str] | None = None
    source: str = "support-desk"
    state: str = "accepted"
    reason: str = ""  # a part of it

    def wire(self, workload: str, id_of: Lookup) -> dict[str, Any]:
        """As it is sent."""
        named = {"request_id": id_of(*self.about)} if self.about else {}
        envelope = {"correction_id": self.id, "workload_id": workload, "source": self.source, "kind": "edit", "created_at": CREATED_AT}
        return {**envelope, "author": {"name": "Ada"}, **named, **self.body}


def edit(id: str, corrected: Any, *, about: tuple[str, str] | None = None, **more: Any) -> HandedIn:
    held = {name: more.pop(name) for name in ("source", "state", "reason") if name in more}
    return HandedIn(id=id, about=about, body={"corrected": corrected, "reason_code": "format", **more}, **held)


OURS, COMPLETION, OWN = "request_id", "completion_id", "client_request_id"
YES = user("Yes please")
RENEW, STOP = {"role": "assistant", "content": "Shall I renew?"}, {"role": "assistant", "content": "Shall I cancel?"}
CALL_IN_TEXT = '{"tool": "f", "arguments": {"n": "path"}}'
CALLS = [{"name": "track", "arguments": {"order": 8}}, {"name": "track", "arguments": {"order": 9}}]
CONVERSATION: Mapping[str, Any] = {
    "messages": [
        {"role": "developer", "content": "Be brief."},
        user([{"type": "text", "text": "Where are my orders?"}]),
        CALLED,
        *RESULTS,
        user("And now?"),
    ],
    "tools": [TRACK],
    "dimensions": {"tenant": "acme"},
    "original": {"role": "assistant", "content": "I do not know."},
}

ONE_BY_ONE: Sequence[HandedIn] = (
    edit("our-id", "White.", about=("python: plain", OURS)),
    edit("completion-id", "Pure white.", about=("python: system", COMPLETION)),
    edit("client-id", "There are some callers before you.", about=("queue", OWN)),
    edit("streamed", "It is white.", about=("node: tool results", COMPLETION)),
    edit("same-again", "White.", about=("node: plain", OWN), state="duplicate"),
    edit("another-answer", "Grey.", about=("litellm: plain", OURS), state="contradiction"),
    edit("capitals", "WHITE.", about=("reasoning, chat", OURS)),
    edit("as-answered", "White.", about=("reasoning, stream", OURS), state="rejected", reason="the same as the model's"),
    HandedIn(id="calls", about=("python: two calls", COMPLETION), body={"corrected_calls": CALLS, "reason_code": "wrong_argument"}),
    edit("half", "Once there was a sea.", about=("python: half a stream", OURS)),
    edit("picture", "A white pixel.", about=("node: picture", OURS), state="rejected", reason="not kept"),
    edit("personal", f"Write to {MAIL}. Or call {PHONE}.", about=("personal data in an answer, chat", OURS)),
    edit("too-early", "White.", about=("", OURS), state="submitted"),
)
"""Each by a request of its own."""
ARRAY: Sequence[HandedIn] = (
    edit("1", "Renewed.", messages=[user("My subscription"), RENEW, YES]),
    edit("1", "Cancelled.", messages=[user("My subscription"), STOP, YES], source="annotation"),
    edit("conversation", "In Oslo.", **CONVERSATION),
)
"""In one file: a list, printed on many lines. Two sources number from 1."""
LINES: Sequence[HandedIn] = (
    edit("half-a-character", '{"tool": "send", "arguments": {"text": "ok \\ud83d"}}', messages=[user("Send it")], original="sent"),
    edit("sign", "You are caller 3.", messages=[user("Am I next?")], original="You are caller #.", reason_code="other"),
    edit("figure", "6 euros.", messages=[user("What is it?")], original="5 euros.", reason_code="other", state="knowledge_gap"),
    edit("accents", "Cafe\u0301.", messages=[user("Where is it?")], original="Caf\u00e9.", state="rejected", reason="the same"),
    edit("order-of-keys", '{"b": 1, "a": 2.0}', messages=[user("JSON?")], original='{"a": 2, "b": 1}', state="rejected", reason="the same"),
    edit(
        "argument", '{"tool": "f", "arguments": {"n": "PATH"}}', messages=[user("n?")], original='{"tool": "f", "arguments": {"n": "path"}}'
    ),
    edit("indentation", "```\nif x:\n    y()\n```", messages=[user("Which code?")], original="```\nif x:\ny()\n```"),
    edit("stranger", "Blue.", messages=[user("And the sky?")], source="somebody", state="review"),
    HandedIn(id="thumb", state="review", body={"kind": "reject", "messages": [user("Is it late?")], "original": "Perhaps."}),
)
"""In one file from Windows: a byte order mark, CRLF, empty lines."""


@dataclass(frozen=True, kw_only=True)
class CorrectionFile:
    """A file, and the lines of it that are refused, with a part of the reason."""

    content: bytes
    refused: Mapping[int, str] = field(default_factory=dict)


def files_of(workload: str, id_of: Lookup) -> Mapping[str, CorrectionFile]:
    """By name."""
    windows = "\r\n\r\n".join(json.dumps(one.wire(workload, id_of)) for one in LINES)
    good = edit("between", "Red.", messages=[user("And blood?")]).wire(workload, id_of)
    pasted = {**good, "correction_id": "pasted-log", "comment": "x" * 900_000}
    praise = {**good, "correction_id": "praise", "kind": "praise"}
    broken = '{"correction_id": "broken", "comment": "first'  # the next line is the rest of the comment
    lines = [*map(json.dumps, (pasted, praise)), broken, 'second"}', json.dumps(good)]
    return {
        "array.json": CorrectionFile(content=json.dumps([one.wire(workload, id_of) for one in ARRAY], indent=2).encode()),
        "windows.ndjson": CorrectionFile(content=codecs.BOM_UTF8 + windows.encode()),
        "faulty.ndjson": CorrectionFile(
            content="\n".join(lines).encode(), refused={1: "too long", 2: "kind", 3: "line 3, column", 4: "line 4, column"}
        ),
    }


EXPECTED: Sequence[HandedIn] = (*ONE_BY_ONE, *ARRAY, *LINES, edit("between", "Red."))
