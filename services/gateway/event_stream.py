"""Reads server-sent events.

In: the bytes of a stream, in any pieces. Out: the events' data. Line ends, comments, and data of several lines are as in the WHATWG's
"Server-sent events". More is understood where servers differ from it: events without an empty line between them, and a last one without
an end.
"""

from typing import NamedTuple

LARGEST_EVENT = 16 * 1024**2
"""Bytes. A larger event is passed over."""
DONE = b"[DONE]"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def whole_events(piece: bytes) -> list[bytes] | None:
    """The events of a piece that has whole events alone, each of one line of JSON or DONE, as most pieces do; None for any other piece."""
    if not piece.startswith(b"data: ") or not piece.endswith(b"\n\n") or b"\r" in piece:
        return None
    events = piece[:-2].split(b"\n\n")
    plain = all((event.startswith(b"data: {") or event == b"data: [DONE]") and b"\n" not in event for event in events)
    return events if plain else None


class StreamEvent(NamedTuple):
    """``data`` is DONE at the end of a stream that says so. ``name``: of the field ``event``, mostly empty."""

    data: bytes
    name: bytes = b""


class EventStream:
    """Feed it every piece, and call ``end`` at the end; each returns the events that are whole by then."""

    def __init__(self) -> None:
        self._line: list[bytes] = []  # the beginning of a line
        self._line_bytes, self._event_bytes = 0, 0
        self._name, self._data = b"", list[bytes]()
        self._after_return = False  # a line feed that comes now belongs to the carriage return before it
        self._at_start, self._passes_over = True, False
        self.lost_an_event = False
        """An event was too large."""

    def feed(self, piece: bytes) -> list[StreamEvent]:
        if not piece:
            return []
        if not self._event_bytes and (whole := whole_events(piece)) is not None:
            self._at_start = self._after_return = False  # the rest would only be slower
            return [StreamEvent(event[6:]) for event in whole]
        if self._after_return and piece.startswith(b"\n"):
            piece = piece[1:]
        self._after_return = piece.endswith(b"\r")
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *others = piece.split(b"\n")
        self._hold(first)
        events: list[StreamEvent] = []
        for line in others:
            self._end_line(events)
            self._hold(line)
        return events

    def end(self) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        self._end_line(events)
        self._end_event(events)
        return events

    def _hold(self, part: bytes) -> None:
        self._line_bytes += len(part)
        self._event_bytes += len(part)
        if self._event_bytes > LARGEST_EVENT:
            self._line.clear()
            self._data.clear()
            self._passes_over = self.lost_an_event = True
        elif part:
            self._line.append(part)

    def _end_line(self, events: list[StreamEvent]) -> None:
        line, is_empty = b"".join(self._line), self._line_bytes == 0
        self._line.clear()
        self._line_bytes = 0
        if self._at_start:
            line = line.removeprefix(_BYTE_ORDER_MARK)
            self._at_start = False
        if is_empty:
            self._end_event(events)
        elif self._passes_over:
            return
        elif line.startswith(b"data:"):
            self._add(line[6:] if line.startswith(b"data: ") else line[5:], events)
        elif line.startswith(b"event:"):
            self._name = line[6:].strip()

    def _add(self, data: bytes, events: list[StreamEvent]) -> None:
        """A line of data. Where a JSON object ends and another begins, so do two events."""
        is_done = data.strip() == DONE
        if self._data and (is_done or (data.startswith(b"{") and self._data[-1].endswith(b"}"))):
            self._end_event(events)
        self._data.append(DONE if is_done else data)
        if is_done:
            self._end_event(events)

    def _end_event(self, events: list[StreamEvent]) -> None:
        if self._data:
            events.append(StreamEvent(b"\n".join(self._data), self._name))
        self._name, self._event_bytes, self._passes_over = b"", 0, False
        self._data.clear()
