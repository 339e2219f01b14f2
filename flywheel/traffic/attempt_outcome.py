"""Whose error is it? How one attempt to answer a request ended.

In: the HTTP status, whether the answer came to its end, whether the client closed the connection. Out: an ``AttemptOutcome``. What is
counted of each outcome is decided in ``features`` and ``sessions``, not here.
"""

from enum import StrEnum

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that closed the connection before it had the answer."""


class AttemptOutcome(StrEnum):
    """Only ``ok`` and ``model_error`` say something about the model; the others never count for or against an adapter."""

    OK = "ok"
    MODEL_ERROR = "model_error"  # no answer, half of an answer, or a server that refuses everybody
    THROTTLED = "throttled"
    CLIENT_ERROR = "client_error"  # the request is at fault: the same request would fail again, on any adapter
    CLIENT_ABORTED = "client_aborted"

    @property
    def is_of_the_model(self) -> bool:
        """True when the attempt says something about the model: it answered, or it failed."""
        return self in (AttemptOutcome.OK, AttemptOutcome.MODEL_ERROR)


_CLIENT_ERRORS = frozenset({400, 405, 409, 413, 414, 415, 416, 422, 431})
"""Without 401 and 403, which refuse the gateway's key; 404, which is an adapter that is not loaded; 408, which is a slow server."""


def outcome_of(status: int, *, ended: bool = True, client_closed: bool = False) -> AttemptOutcome:
    """``status``: of HTTP; 0 when no answer came. ``ended``: the answer is whole, as far as anybody can tell.

    A client that closes the connection after the end of the answer has got all of it.
    """
    if status == CLIENT_CLOSED_REQUEST or (client_closed and not ended):
        return AttemptOutcome.CLIENT_ABORTED
    if 200 <= status < 300:
        return AttemptOutcome.OK if ended else AttemptOutcome.MODEL_ERROR
    if status == 429:
        return AttemptOutcome.THROTTLED
    return AttemptOutcome.CLIENT_ERROR if status in _CLIENT_ERRORS else AttemptOutcome.MODEL_ERROR
